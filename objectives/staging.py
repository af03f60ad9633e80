"""Where the store's folders are written before they are entries, and end when they are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from objectives.locks import Busy, exclusive_or_busy, shared

LOCK = "lock"


class Staging:
    """Unfinished folders of the processes of one machine.

    Whoever writes holds a lock together with all others that write; the kernel releases it when
    they die. Who holds it alone knows that all that is left is of the dead.

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
        with shared(self.folder / LOCK):
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, folder: Path) -> None:
        """Remove a folder of the same disk; from its place it goes at once, whole."""
        self._make()
        out_of_the_way = self.folder / f"removed-{uuid.uuid4().hex}"
        with suppress(FileNotFoundError, NotADirectoryError):
            os.rename(folder, out_of_the_way)
        shutil.rmtree(out_of_the_way, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed writers left, unless somebody writes just now."""
        # Who may only read has nothing to tidy.
        with suppress(Busy, OSError), exclusive_or_busy(self.folder / LOCK):
            for left in self.folder.iterdir():
                if left.name != LOCK:
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
