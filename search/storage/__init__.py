"""The study: the durable record of the trials of a search."""
