"""The REST service: the commands of the command line over HTTP."""
