"""A pretend Claude API on loopback. It shares no code with what it judges."""
