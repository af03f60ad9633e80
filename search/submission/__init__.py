"""Starting searches in the background or on a cluster."""
