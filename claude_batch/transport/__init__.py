"""The only door to the Anthropic SDK: bytes out, bytes in, failures named in one table."""
