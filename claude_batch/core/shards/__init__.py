"""Run folders: how inputs are cut into shards, who works on one, and what each may cost."""
