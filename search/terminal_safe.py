"""Text that is safe to print: of characters that a terminal neither obeys nor lacks."""

from __future__ import annotations

import codecs
import io
import sys

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


_SIMILAR = {
    "…": "...",
    "–": "-",
    "—": "-",
    "×": "x",
    "±": "+/-",
    "·": "*",
    "−": "-",
    "’": "'",
    "≤": "<=",
    "≥": ">=",
}
"""ASCII for characters that tlc prints."""
_SIMILAR_OR_UNKNOWN = "tlc-similar"


def write_what_can_be_encoded() -> None:
    """Let this process print what its streams cannot encode as similar characters, or as ``?``.

    In an ASCII or Latin-1 locale, the first ellipsis would otherwise end a search.
    """
    codecs.register_error(_SIMILAR_OR_UNKNOWN, _similar)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SIMILAR_OR_UNKNOWN)


def _similar(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SIMILAR.get(character, "?") for character in lacking), error.end
