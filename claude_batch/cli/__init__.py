"""The command line: one file per command; each reads its flags, calls one thing, and leaves."""
