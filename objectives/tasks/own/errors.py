"""The error of a task that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from objectives.failures import error_with_place
from spaces.errors import UserError

NAME = "task.name"


class OwnTaskError(UserError):
    """A user's own task cannot be imported, or does something else than a task must.

    The error that its code raised, if any, is its cause.
    """


@contextmanager
def of_method(method: str) -> Iterator[None]:
    """Inside, an error is one of a method of the user: ``OwnTaskError`` says which and where."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # The code of a user may raise anything.
        raise OwnTaskError(f"{NAME}: {method}() raised {error_with_place(error)}") from error
