"""Decisions without the world: no clock, no I/O, no randomness, no logging."""
