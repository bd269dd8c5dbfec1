"""The loops that wait: they own tasks and time, and ask the core what to do."""
