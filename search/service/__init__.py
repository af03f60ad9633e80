"""The REST service: the verbs of the command line over HTTP."""
