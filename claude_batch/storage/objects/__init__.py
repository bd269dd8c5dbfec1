"""Object storage: the only door to obstore."""
