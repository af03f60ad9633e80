"""The console that all commands print to."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from search.terminal_safe import printable

WIDE = 160
"""Columns of an output that is no terminal, so that no table is cut."""


class PlainConsole(Console):
    """A console that prints untrusted text literally.

    Names, messages of failed trials and responses of a service may contain rich's markup or
    terminal control characters.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string, as rich does for every cell and line."""
        return super().render_str(printable(text), **options)
