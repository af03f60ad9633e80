"""The store of checkpoints and compressed models: content-addressed, checked, under a quota.

An entry is a folder of files with a ``manifest.json`` that holds its address and the SHA-256 of
each file; an entry without a valid manifest does not exist. Weights are safetensors, everything
else is JSON.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EEXIST, ENOTDIR, ENOTEMPTY
from pathlib import Path
from typing import TypeVar

import fsspec

from objectives.store.disk_space import is_disk_full, retry_when_full
from objectives.store.locks import exclusive_lock
from objectives.store.manifest import (
    CHECKPOINTS,
    MANIFEST,
    MODELS,
    Entry,
    parse_checkpoint_address,
    parse_manifest,
    sha256,
)
from objectives.store.quota import removal_order
from objectives.store.staging import Staging, flush
from spaces.errors import UserError

RECOUNT_SECONDS = 60.0
PINNED = "pinned"
"""Folder with a list of addresses for each study: what its frontier needs."""

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class StoreError(UserError):
    """A store that cannot be used."""


class Store:
    """Checkpoints and models by address, on local disk or anything that fsspec reaches.

    Args:
        url: A folder, or an fsspec URL such as ``s3://bucket/prefix``.
        max_bytes: Quota; after each write the least useful entries beyond it are removed.
    """

    def __init__(self, url: str, *, max_bytes: float = float("inf")) -> None:
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StoreError(
                f"storage.store: {url!r} is not a usable folder or URL: {error}"
            ) from error
        self._root = str(root).rstrip("/")
        self._max_bytes = max_bytes
        self._bytes = 0.0
        self._counted = -RECOUNT_SECONDS
        self._damaged: list[str] = []
        self.is_local = "file" in (
            self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)
        )
        if self.is_local:
            self._staging = Staging(Path(self._root) / "staging" / socket.gethostname())
        else:
            self._staging = Staging(Path(tempfile.gettempdir()) / f"tlc-staging-{os.getuid()}")

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            StoreError: The store cannot be written.
        """
        probe = f"{self._root}/.probe-{os.getpid()}"
        try:
            self._fs.makedirs(self._root, exist_ok=True)
            with self._fs.open(probe, "wb") as file:
                file.write(b"tlc")
            self._fs.rm(probe)
        except Exception as error:
            # Each fsspec backend raises classes of its own.
            raise StoreError(
                f"storage.store: {self._root} cannot be written ({error}); "
                "name another folder or URL, or mend its permissions"
            ) from error

    def remove_unfinished(self) -> None:
        """Remove what killed writers of this machine left unfinished."""
        self._staging.remove_unfinished()

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a name alone among the processes of this machine (no effect on remote stores)."""
        with ExitStack() as stack:
            if self.is_local:
                self._retry_when_full(lambda: stack.enter_context(self._locked(name)), name)
            yield

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        folder = Path(self._root) / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / f"{name}.lock"):
            yield

    def write(self, address: str, fill: Callable[[Path], T], *, is_final: bool) -> T:
        """Fill a new folder and make it an entry; where the disk is full, wait for room.

        Args:
            address: Of the entry.
            fill: Writes its files into a folder; called again after each wait.
            is_final: Whether nothing will continue from it.

        Returns:
            What ``fill`` gave.
        """

        def use(folder: Path) -> T:
            result = fill(folder)
            self.commit(folder, address, is_final=is_final)
            return result

        return self.use_temporary_folder(address, use)

    def use_temporary_folder(self, what: str, use: Callable[[Path], T]) -> T:
        """Use a new folder that is removed afterwards; where the disk is full, wait for room.

        Args:
            what: What is written into it, for people.
            use: Gets the folder; called again after each wait.

        Returns:
            What ``use`` gave.
        """

        def attempt() -> T:
            with self._staging.new() as folder:
                return use(folder)

        return self._retry_when_full(attempt, what)

    def _retry_when_full(self, write: Callable[[], T], what: str) -> T:
        disk = Path(self._root) if self.is_local else self._staging.folder
        return retry_when_full(write, disk=disk, what=what)

    def commit(self, folder: Path, address: str, *, is_final: bool) -> Entry:
        """Make a folder on the store's disk an entry, whole or not at all.

        Locally the files are flushed to disk and the folder is renamed; on other stores the
        manifest is written last. An intact entry that is there already stays.
        """
        files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
        entry = Entry(
            address=address,
            size_bytes=sum(path.stat().st_size for path in files),
            modified=time.time(),
            is_final=is_final,
            files={path.name: sha256(path) for path in files},
        )
        (folder / MANIFEST).write_text(entry.to_json())
        if self.is_local:
            self._commit_local(folder, address)
        else:
            self._commit_remote([*files, folder / MANIFEST], address)
        self._keep_quota(entry)
        return entry

    def _commit_local(self, folder: Path, address: str) -> None:
        target = Path(self._root) / address
        for path in folder.iterdir():
            flush(path)
        flush(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                os.rename(folder, target)
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY, ENOTDIR):
                    raise
            else:
                break
            with self.open(address) as there:
                if there is not None:
                    # Another worker was first with the same content.
                    return
            self.remove(address)
        flush(target.parent)
        flush(target.parent.parent)

    def _commit_remote(self, files: list[Path], address: str) -> None:
        with self.open(address) as there:
            if there is not None:
                return
        for path in files:
            self._fs.makedirs(f"{self._root}/{address}", exist_ok=True)
            self._fs.put_file(str(path), f"{self._root}/{address}/{path.name}")

    @contextmanager
    def open(self, address: str) -> Iterator[Path | None]:
        """A local folder with a verified entry, or None where there is no such entry.

        A damaged entry is removed: one whose files do not match their hashes, for a flipped byte
        loads without an error from every format, or whose manifest is not its own. What it was can
        be trained again.
        """
        entry = self._entry(address)
        if entry is not None:
            with self._local_copy(entry) as folder:
                if entry.matches(folder):
                    yield folder
                    return
        if self._fs.exists(f"{self._root}/{address}/{MANIFEST}"):
            _LOG.warning("%s is damaged, and is removed", self.location(address))
            self._damaged.append(address)
            with suppress(OSError):  # A reader may not be allowed to write.
                self.remove(address)
        yield None

    def pop_damaged(self) -> list[str]:
        """Addresses of the entries that were found damaged since the last call."""
        found, self._damaged = self._damaged, []
        return found

    @contextmanager
    def _local_copy(self, entry: Entry) -> Iterator[Path]:
        if self.is_local:
            yield Path(self._root) / entry.address
            return
        with self._staging.new() as folder:
            for name in entry.files:
                # A file that is gone is found missing by whoever verifies.
                with suppress(FileNotFoundError):
                    self._fs.get_file(f"{self._root}/{entry.address}/{name}", str(folder / name))
            yield folder

    def exists(self, address: str) -> bool:
        """Whether there is an entry at an address (its files are not verified)."""
        return self._entry(address) is not None

    def addresses(self, prefix: str) -> set[str]:
        """Addresses below one that have a manifest, from a single listing (none is read)."""
        found = self._fs.find(f"{self._root}/{prefix}")
        below = (str(path)[len(self._root) + 1 :] for path in found)
        return {path[: -len(MANIFEST) - 1] for path in below if path.endswith(f"/{MANIFEST}")}

    def checkpoint_steps(self, path: str) -> list[int]:
        """Steps of a training path that have a checkpoint, ascending (none is verified)."""
        prefix = f"{CHECKPOINTS}/{path}"
        points = map(parse_checkpoint_address, self.addresses(prefix))
        return sorted(point[1] for point in points if point is not None and point[0] == prefix)

    def entries(self, prefix: str) -> list[Entry]:
        """Entries below an address."""
        found = map(self._entry, sorted(self.addresses(prefix)))
        return [entry for entry in found if entry is not None]

    def remove(self, address: str) -> None:
        """Remove an entry; a half-removed one does not exist, for on the store's own disk it goes
        at once, and elsewhere its manifest goes first."""
        if self.is_local:
            self._staging.remove(Path(self._root) / address)
            return
        for victim in (f"{self._root}/{address}/{MANIFEST}", f"{self._root}/{address}"):
            with suppress(FileNotFoundError):
                self._fs.rm(victim, recursive=True)

    def location(self, address: str) -> str:
        """Where a person finds an entry: a path, or a URL."""
        path = f"{self._root}/{address}"
        return path if self.is_local else str(self._fs.unstrip_protocol(path))

    def pin(self, addresses: Iterable[str], *, by: str) -> None:
        """Name the entries that go last when room is needed: those of frontier members.

        Args:
            addresses: All that whoever asks needs; what it named before is forgotten.
            by: Who needs them, of all that share the store: the mark of a study.
        """
        place = f"{self._root}/{PINNED}/{by}.json"
        try:
            self._fs.makedirs(f"{self._root}/{PINNED}", exist_ok=True)
            with self._fs.open(f"{place}.new", "w") as file:
                json.dump(sorted(addresses), file)
            self._fs.mv(f"{place}.new", place)
        except OSError as error:
            # The next trial that ends pins again; until then the former pins hold.
            if not is_disk_full(error):
                raise
            _LOG.warning("no room to note what the frontier needs: %s", error)

    def _pinned(self) -> set[str]:
        # Stores had a single file once, of whichever search was last.
        files = [f"{self._root}/{PINNED}.json", *self._fs.find(f"{self._root}/{PINNED}")]
        pinned: set[str] = set()
        for file in files:
            # Also one that is just being replaced.
            with suppress(FileNotFoundError, ValueError, TypeError):
                pinned.update(json.loads(self._fs.cat_file(file)))
        return pinned

    def _entry(self, address: str) -> Entry | None:
        try:
            manifest = self._fs.cat_file(f"{self._root}/{address}/{MANIFEST}")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return parse_manifest(manifest, address)

    def _keep_quota(self, written: Entry) -> None:
        # Reading every manifest at every checkpoint would cost more than a step: between two
        # counts the store is taken to grow by what this process writes.
        self._bytes += written.size_bytes
        is_old = time.monotonic() - self._counted > RECOUNT_SECONDS
        if self._max_bytes == float("inf") or (self._bytes <= self._max_bytes and not is_old):
            return
        entries = [*self.entries(CHECKPOINTS), *self.entries(MODELS)]
        self._counted = time.monotonic()
        self._bytes = sum(entry.size_bytes for entry in entries)
        for entry in removal_order(entries, self._pinned()):
            if self._bytes <= self._max_bytes:
                return
            if entry.address != written.address:
                self.remove(entry.address)
                self._bytes -= entry.size_bytes
