"""Give it a file of prompts; get every answer from Claude, exactly once, within your limits."""

__version__ = "0.1.0"
