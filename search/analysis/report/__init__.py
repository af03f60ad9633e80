"""The report of a search: one page that needs no other file and no network."""
