"""Where the store's folders are written before they are entries, and end when they are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from objectives.store.locks import LockBusy, exclusive_lock, try_exclusive_lock

LOCK = "lock"
HIDDEN = "."


class Staging:
    """Unfinished folders of the processes of one machine.

    Whoever writes into one holds its lock, which the kernel releases when they die.

    Args:
        folder: Its place; only processes of this machine may use it, for a lock may not reach
            others over a network file system.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A new empty folder; removed afterwards, if it was not moved to where it belongs."""
        self._make()
        # Hidden until it is locked, for what is seen without an owner is swept.
        hidden = Path(tempfile.mkdtemp(prefix=HIDDEN, dir=self.folder))
        place = self.folder / hidden.name.removeprefix(HIDDEN)
        try:
            with exclusive_lock(hidden / LOCK):
                hidden.rename(place)
                folder = place / "entry"
                folder.mkdir()
                yield folder
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
            shutil.rmtree(place, ignore_errors=True)

    def remove(self, folder: Path) -> None:
        """Remove a folder of the same disk; from its place it goes at once, whole."""
        self._make()
        out_of_the_way = self.folder / f"removed-{uuid.uuid4().hex}"
        with suppress(FileNotFoundError, NotADirectoryError):
            os.rename(folder, out_of_the_way)
        shutil.rmtree(out_of_the_way, ignore_errors=True)

    def remove_unfinished(self) -> None:
        """Remove what killed writers left."""
        for left in self.folder.glob(f"[!{HIDDEN}]*"):
            # Its writer lives, or has just removed it, or this process may only read.
            with suppress(LockBusy, OSError), try_exclusive_lock(left / LOCK):
                shutil.rmtree(left, ignore_errors=True)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
