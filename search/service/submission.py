"""A search file that came over the network: what it may not say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.service.settings import Settings
from spaces.file.local_paths import data_paths
from spaces.file.search_file import SearchFile
from spaces.file.storage import Storage
from spaces.loading import SearchFileError, from_document, load, ready_made


def received(
    search: str | dict[str, Any], overrides: Sequence[str], settings: Settings
) -> SearchFile:
    """The search file that was sent, if a stranger may have it run, with the service's storage.

    Args:
        search: Name of a ready-made search, or a whole search file.
        overrides: Texts like ``space.depth.high=8``.
        settings: The service's.

    Raises:
        SearchFileError: It is wrong, or names a place that is the service's to choose.
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
        f"{field}: is the service's to choose"
        for field, is_given in (
            ("storage", file.storage != Storage()),
            ("address", file.address is not None),
        )
        if is_given
    ]
    faults += [
        f"{field}: {path!r} is not below a folder that the service may read"
        for field, path in data_paths(file)
        if not _is_allowed(path, settings.data_roots)
    ]
    if faults:
        raise SearchFileError("search", faults)
    return file.model_copy(update={"storage": settings.storage})


def _is_allowed(path: str, roots: Sequence[Path]) -> bool:
    # URLs too: the service must not be made to fetch what only it reaches.
    if "://" in path or "::" in path or "\0" in path:
        return False
    # Links are followed, so that none leads out.
    resolved = Path(path).resolve()
    return any(resolved.is_relative_to(root.resolve()) for root in roots)
