"""The terminal that all commands print to."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from search.terminal_safe import printable

WIDE = 160
"""Columns where there is no terminal: enough that no table is cut."""


class PlainConsole(Console):
    """A console that shows the text of others as it is: messages of failed trials, names, what a
    service answers. Square brackets and colons are no markup, control characters no commands.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text for a string, which is how rich makes every cell and line of one."""
        return super().render_str(printable(text), **options)


def make_console(*, stderr: bool) -> Console:
    """The terminal; where there is none, wide enough that no table is cut."""
    made = PlainConsole(stderr=stderr)
    return made if made.is_terminal else PlainConsole(stderr=stderr, width=WIDE)
