"""Commands about a run that exists: its state, its history, its report, what changes it."""
