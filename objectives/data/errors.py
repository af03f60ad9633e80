"""Errors of data sources."""

from spaces.errors import UserError


class DataError(UserError):
    """Data that is missing, empty, or not what the search file says."""
