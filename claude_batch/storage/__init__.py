"""Files: prompts in, results out, the journal beside them, and what survives a crash."""
