"""Commands on run folders."""
