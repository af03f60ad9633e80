"""Commands that begin with data: they look at it, and write a search file for it."""
