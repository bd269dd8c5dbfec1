"""Other machines: calls placed on Ray's workers, and processes that end with their worker."""
