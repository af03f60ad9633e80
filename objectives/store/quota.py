"""The quota of the store: how its bytes are counted, and which entries are removed first."""

from __future__ import annotations

import time
from collections.abc import Callable

from objectives.store.manifest import Entry, parse_checkpoint_address
from objectives.store.pins import Pins

RECOUNT_SECONDS = 60.0
"""Seconds between two readings of all manifests to count the bytes of the store."""


class Quota:
    """Removes the least useful entries of a store that exceeds its quota.

    Args:
        max_bytes: The quota; may be infinite.
        entries: Reads the manifests of all entries.
        remove: Removes the entry at an address.
        pins: The entries that go last.
    """

    def __init__(
        self,
        max_bytes: float,
        entries: Callable[[], list[Entry]],
        remove: Callable[[str], None],
        pins: Pins,
    ) -> None:
        self._max_bytes = max_bytes
        self._entries = entries
        self._remove = remove
        self._pins = pins
        self._bytes = 0.0
        self._counted = -RECOUNT_SECONDS

    def enforce(self, written: Entry) -> None:
        """Make space after an entry was written; that entry stays."""
        # Reading every manifest at every checkpoint would cost more than a training step: between
        # two counts the store is assumed to grow only by what this process writes.
        self._bytes += written.size_bytes
        is_old = time.monotonic() - self._counted > RECOUNT_SECONDS
        if self._max_bytes == float("inf") or (self._bytes <= self._max_bytes and not is_old):
            return
        entries = self._entries()
        self._counted = time.monotonic()
        self._bytes = sum(entry.size_bytes for entry in entries)
        for entry in removal_order(entries, self._pins.read()):
            if self._bytes <= self._max_bytes:
                return
            if entry.address != written.address:
                self._remove(entry.address)
                self._bytes -= entry.size_bytes


def removal_order(entries: list[Entry], pinned: set[str]) -> list[Entry]:
    """Entries from the least to the most useful, the oldest first among equals.

    1. checkpoints that have a later one on their path: only a shorter budget would need them;
    2. finished models, which the last checkpoint can make again;
    3. the last checkpoint of each path;
    4. pinned entries.
    """
    last_step: dict[str, int] = {}
    for path, step in filter(None, (parse_checkpoint_address(e.address) for e in entries)):
        last_step[path] = max(last_step.get(path, -1), step)

    def usefulness(entry: Entry) -> tuple[int, float]:
        checkpoint = parse_checkpoint_address(entry.address)
        if entry.address in pinned:
            rank = 3
        elif entry.is_final:
            rank = 1
        else:
            rank = 2 if checkpoint is not None and checkpoint[1] == last_step[checkpoint[0]] else 0
        return rank, entry.modified

    return sorted(entries, key=usefulness)
