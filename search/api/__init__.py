"""The commands as functions, for ``import tlc`` and for the command line."""
