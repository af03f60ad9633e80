"""Reading the data that a search file names: its splits, as text or images."""
