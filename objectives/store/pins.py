"""Pinned entries: those that the frontiers of studies need, which the quota removes last."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from objectives.store.disk_space import is_disk_full

_LOG = logging.getLogger(__name__)


class Pins:
    """A file of addresses for each study, in the ``fsspec`` file system and folder of a store."""

    def __init__(self, fs: Any, root: str) -> None:
        self._fs = fs
        self._folder = f"{root}/pinned"

    def write(self, addresses: Iterable[str], study_id: str) -> None:
        """Replace the addresses that a study needs; on a full disk the former ones stay."""
        file = f"{self._folder}/{study_id}.json"
        try:
            self._fs.makedirs(self._folder, exist_ok=True)
            with self._fs.open(f"{file}.new", "w") as new:
                json.dump(sorted(addresses), new)
            self._fs.mv(f"{file}.new", file)
        except OSError as error:
            # The next trial that ends pins again.
            if not is_disk_full(error):
                raise
            _LOG.warning("no space to pin what the frontier of %s needs: %s", study_id, error)

    def read(self) -> set[str]:
        """The addresses that any study needs."""
        pinned: set[str] = set()
        for file in self._fs.find(self._folder):
            # A file may be replaced while it is read.
            with suppress(FileNotFoundError, ValueError, TypeError):
                pinned.update(json.loads(self._fs.cat_file(file)))
        return pinned
