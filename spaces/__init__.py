"""What can be searched: pure values and arithmetic, no torch, no Ray."""
