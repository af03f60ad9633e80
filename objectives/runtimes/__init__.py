"""Runtimes: a compressed model as the file that a runtime executes."""
