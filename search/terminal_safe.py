"""Text from outside, made safe to print in a terminal."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_KEPT = "\t\n\r"
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that change the direction in which text is shown."""
_TABLE = {code: REPLACEMENT for code in (*_CONTROLS, *_DIRECTIONS) if chr(code) not in _KEPT}


def printable(text: str) -> str:
    """A text with its control characters replaced.

    Escape sequences can rename the window, move the cursor and, in some terminals, type.
    """
    return text.translate(_TABLE)
