"""The layout of one small model of each family that is trained from scratch, as JSON."""
