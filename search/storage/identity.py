"""Whether a study belongs to a search file: another identity is another search."""

from __future__ import annotations

import json
from typing import Any

from search.storage.errors import BusyStudy
from spaces.file.search_file import SearchFile


def check_same(recorded: dict[str, Any], given: SearchFile) -> None:
    """Compare the file that a study recorded with another of its name.

    Raises:
        BusyStudy: They are different searches; the message names the fields that differ.
    """
    differing = _differences(SearchFile.model_validate(recorded).identity(), given.identity())
    if differing:
        raise BusyStudy(
            f"a search named {given.name!r} exists with another {', '.join(differing)}; "
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
