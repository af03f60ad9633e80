"""The report of a search and the claims of the paper."""
