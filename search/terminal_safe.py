"""Text of others as a terminal may get it: without what would command the terminal."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_KEPT = "\t\n\r"
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that let a text read in another order than it is."""
_TABLE = {code: REPLACEMENT for code in (*_CONTROLS, *_DIRECTIONS) if chr(code) not in _KEPT}


def printable(text: str) -> str:
    """A text with its control characters replaced: an escape sequence renames windows, moves the
    cursor and, in some terminals, types."""
    return text.translate(_TABLE)
