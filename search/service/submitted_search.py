"""Validation of a search file that was sent to the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.service.settings import Settings
from spaces.file.search_file import SearchFile
from spaces.file.storage import Storage
from spaces.loading import SearchFileError, from_document, load, ready_made


def submitted_search(
    search: str | dict[str, Any], overrides: Sequence[str], settings: Settings
) -> SearchFile:
    """Validate a submitted search, and give it the storage of the service.

    Args:
        search: Name of a ready-made search, or a whole search file.
        overrides: Assignments such as ``space.depth.high=8``.
        settings: The settings of the service.

    Raises:
        SearchFileError: It is invalid, sets a field that the service sets, or names data outside
            the allowed folders.
    """
    if isinstance(search, str):
        if search not in ready_made():
            names = ", ".join(ready_made())
            raise SearchFileError(
                "request", [f"search: {search!r} is not a ready-made search; they are {names}"]
            )
        file = load(search, overrides)
    else:
        file = from_document(search, overrides)
    faults = [
        f"{field}: is set by the service; remove it"
        for field, is_given in (
            ("storage", file.storage != Storage()),
            ("address", file.address is not None),
        )
        if is_given
    ]
    faults += [
        f"{field}: {path!r} is not below a data folder of the service (--data-root)"
        for field, path in file.data.local_paths()
        if not _is_allowed(path, settings.data_roots)
    ]
    if faults:
        raise SearchFileError("search", faults)
    return file.model_copy(update={"storage": settings.storage})


def _is_allowed(path: str, roots: Sequence[Path]) -> bool:
    # URLs could make the service fetch what only it can reach (SSRF).
    if "://" in path or "::" in path or "\0" in path:
        return False
    # resolve() follows links, so that no link leads outside.
    resolved = Path(path).resolve()
    return any(resolved.is_relative_to(root.resolve()) for root in roots)
