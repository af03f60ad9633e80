"""Training that trials share and resume."""
