"""Errors that the user can fix."""

from __future__ import annotations


class UserError(Exception):
    """The input is wrong; the message states what was given and what is allowed.

    The command line prints the message without a traceback and exits with code 2.
    """
