"""The response cache: answers kept for the next run, in SQLite, in Redis or in memory."""
