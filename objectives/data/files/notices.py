"""What is said of data, once, where something of it is skipped, merged or guessed."""

from __future__ import annotations

from collections.abc import Callable

Notice = Callable[[str], None]
"""Called with a sentence that names the field."""


def unsaid(sentence: str) -> None:
    """Say nothing, where the same data was read, and spoken of, before."""
