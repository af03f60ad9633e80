"""Whether a study belongs to a search file: another identity is another search."""

from __future__ import annotations

import json
from typing import Any

from search.storage.errors import BusyStudy


def check_same(name: str, recorded: dict[str, Any], given: dict[str, Any]) -> None:
    """Compare the identity that a study recorded with that of another file of its name.

    Raises:
        BusyStudy: They are different searches; the message names the fields that differ.
    """
    differing = _differences(recorded, given)
    if differing:
        raise BusyStudy(
            f"a search named {name!r} exists with another {', '.join(differing)}; "
            "give this one another name (name: in the file, or --set name=...)"
        )


def _differences(recorded: Any, given: Any, path: str = "") -> list[str]:
    if isinstance(recorded, dict) and isinstance(given, dict):
        return [
            difference
            for key in sorted({*recorded, *given})
            for difference in _differences(
                recorded.get(key), given.get(key), f"{path}.{key}" if path else key
            )
        ]
    return [] if json.dumps(recorded) == json.dumps(given) else [path]
