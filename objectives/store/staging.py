"""Temporary folders in which entries of the store are written, and into which they are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from objectives.store import heartbeat
from objectives.store.locks import LockBusy, exclusive_lock, try_exclusive_lock

LOCK = "lock"
HIDDEN = "."


class Staging:
    """Unfinished folders of the processes of one machine.

    The process that writes into a folder holds its lock, which the kernel releases when it dies.

    Args:
        folder: Where they are; only processes of this machine may use it, because file locks may
            not reach other machines over a network file system.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A new empty folder; it is removed afterwards, unless the caller has moved it."""
        self._make()
        # Hidden until it is locked, because folders without a lock holder are removed.
        hidden = Path(tempfile.mkdtemp(prefix=HIDDEN, dir=self.folder))
        visible = self.folder / hidden.name.removeprefix(HIDDEN)
        try:
            with exclusive_lock(hidden / LOCK):
                hidden.rename(visible)
                folder = visible / "entry"
                folder.mkdir()
                yield folder
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
            shutil.rmtree(visible, ignore_errors=True)

    def remove(self, folder: Path) -> None:
        """Remove a folder of the same disk: atomically from its address, then its files."""
        self._make()
        removed = self.folder / f"removed-{uuid.uuid4().hex}"
        with suppress(FileNotFoundError, NotADirectoryError):
            os.rename(folder, removed)
        shutil.rmtree(removed, ignore_errors=True)

    def remove_unfinished(self) -> None:
        """Remove the folders of processes that have died."""
        for folder in self.folder.glob(f"[!{HIDDEN}]*"):
            # Its process is alive or has just removed it, or this one may not write.
            with suppress(LockBusy, OSError), try_exclusive_lock(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with heartbeat.transferring(os.fstat(descriptor).st_size):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
