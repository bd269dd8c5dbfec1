"""What happened in a run, read back from its journal and results: figures for status and report."""
