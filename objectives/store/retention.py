"""Which entries of the store the quota removes first, and which are pinned: removed last."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from objectives.store.disk_space import is_disk_full
from objectives.store.manifest import Entry, parse_checkpoint_address

_LOG = logging.getLogger(__name__)


class Pins:
    """What frontiers need: a file of addresses for each study, in the ``fsspec`` file system and
    folder of a store."""

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

    def remove(self, study_id: str) -> None:
        """Remove the addresses of a study."""
        with suppress(FileNotFoundError):
            self._fs.rm(f"{self._folder}/{study_id}.json")

    def read(self, *, except_of: str = "") -> set[str]:
        """The addresses that any study needs.

        Args:
            except_of: Id of a study whose needs do not count.
        """
        pinned: set[str] = set()
        for file in self._fs.find(self._folder):
            if file.endswith(f"/{except_of}.json"):
                continue
            # A file may be replaced while it is read.
            with suppress(FileNotFoundError, ValueError, TypeError):
                pinned.update(json.loads(self._fs.cat_file(file)))
        return pinned


def removal_order(entries: list[Entry], pinned: set[str]) -> list[Entry]:
    """Entries from the least to the most useful, the oldest first among equals.

    1. checkpoints that have a later one on their path: only a shorter budget would need them;
    2. finished models, which the last checkpoint can make again;
    3. the last checkpoint of each path;
    4. pinned entries.
    """
    checkpoints = filter(None, (parse_checkpoint_address(e.address) for e in entries))
    last_steps = dict(sorted(checkpoints))

    def usefulness(entry: Entry) -> tuple[int, float]:
        path, step = parse_checkpoint_address(entry.address) or ("", 0)
        if entry.address in pinned:
            rank = 3
        elif entry.is_final:
            rank = 1
        else:
            rank = 2 if last_steps.get(path) == step else 0
        return rank, entry.modified

    return sorted(entries, key=usefulness)
