"""Search files that come with tlc; ``tlc run default`` finds them by name."""
