"""The only door to Rich: a snapshot of figures in, something to look at out."""
