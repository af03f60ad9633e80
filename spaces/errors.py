"""Errors that the user can fix."""

from __future__ import annotations

from importlib.metadata import version


class UserError(Exception):
    """The input is wrong; the message states what was given and what is allowed.

    The command line prints the message without a traceback and exits with code 2.
    """


def require_version(package: str, series: str) -> None:
    """Raise ``UserError`` if a package whose internal formats are used is of another series."""
    installed = version(package)
    if not f"{installed}.".startswith(f"{series}."):
        raise UserError(
            f"tlc uses internal formats of {package} {series}, and {installed} is installed: "
            f"pip install '{package}=={series}.*'"
        )
