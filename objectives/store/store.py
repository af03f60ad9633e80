"""The store of checkpoints and compressed models: content-addressed, verified, under a quota.

An entry is a folder of files with a ``manifest.json`` that holds its address and the SHA-256 of
each file; an entry without a valid manifest does not exist. Weights are safetensors, everything
else is JSON.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EEXIST, ENOTDIR, ENOTEMPTY
from pathlib import Path
from typing import TypeVar

import fsspec

from objectives.store import heartbeat
from objectives.store.disk_space import retry_when_full
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
from objectives.store.retention import Pins, removal_order
from objectives.store.staging import Staging, flush
from spaces.errors import UserError

RECOUNT_SECONDS = 60.0
"""Seconds between two readings of all manifests to count the bytes of the store."""

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class _Beats(fsspec.Callback):  # type: ignore[misc]
    """A heartbeat for each part of a file that is transferred."""

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        heartbeat.beat("transferring files of the store")


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
            message = f"storage.store: {url!r} is not a usable folder or URL: {error}"
            raise StoreError(message) from error
        self._root = str(root).rstrip("/")
        self.pins = Pins(self._fs, self._root)
        self.max_bytes = max_bytes
        self._bytes = 0.0
        self._counted = -RECOUNT_SECONDS
        self._damaged: list[str] = []
        protocols = self._fs.protocol
        self._is_local = "file" in ((protocols,) if isinstance(protocols, str) else protocols)
        if self._is_local:
            self._staging = Staging(Path(self._root) / "staging" / socket.gethostname())
        else:
            self._staging = Staging(Path(tempfile.gettempdir()) / f"tlc-staging-{os.getuid()}")

    def check_writable(self) -> None:
        """Write and remove a small file; raises ``StoreError`` where that is not possible."""
        probe = f"{self._root}/.probe-{os.getpid()}"
        try:
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(probe, b"tlc")
            self._fs.rm(probe)
        except Exception as error:
            # Each fsspec backend raises classes of its own.
            raise StoreError(
                f"storage.store: {self._root} cannot be written ({error}); "
                "name another folder or URL, or fix its permissions"
            ) from error

    def remove_unfinished(self) -> None:
        """Remove the unfinished entries of processes of this machine that have died."""
        self._staging.remove_unfinished()

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a name alone among the processes of this machine (no effect on remote stores)."""
        with ExitStack() as stack:
            if self._is_local:
                file = Path(self._root) / "locks" / f"{name}.lock"

                def acquire() -> None:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(exclusive_lock(file))

                retry_when_full(acquire, disk=file.parent, what=name)
            yield

    def write(
        self,
        address: str,
        fill: Callable[[Path], T],
        *,
        is_final: bool,
        waits_for_space: bool = True,
    ) -> T:
        """Make a folder an entry, atomically, after ``fill`` has written its files into it.

        On local disk it is flushed and renamed, elsewhere the manifest is written last. An intact
        entry at the address is kept. Where the disk is full, it waits for space and fills another
        folder, unless ``waits_for_space`` is false. ``is_final`` says that no training continues
        from the entry.
        """

        def fill_and_commit(folder: Path) -> T:
            result = fill(folder)
            self._commit(folder, address, is_final=is_final)
            return result

        if waits_for_space:
            return self.use_temporary_folder(address, fill_and_commit)
        with self._staging.new() as folder:
            return fill_and_commit(folder)

    def use_temporary_folder(self, what: str, use: Callable[[Path], T]) -> T:
        """Call ``use`` with a new folder that is removed afterwards.

        Where the disk is full, it waits for space and uses another one. Messages name ``what``.
        """

        def attempt() -> T:
            with self._staging.new() as folder:
                return use(folder)

        return retry_when_full(attempt, disk=self._staging.folder, what=what)

    def _commit(self, folder: Path, address: str, *, is_final: bool) -> None:
        files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
        entry = Entry(
            address=address,
            size_bytes=sum(path.stat().st_size for path in files),
            modified=time.time(),
            is_final=is_final,
            files={path.name: sha256(path) for path in files},
        )
        (folder / MANIFEST).write_text(entry.to_json())
        if self._is_local:
            is_new = self._commit_local(folder, address)
        elif is_new := not self._is_intact(address):
            self._fs.makedirs(f"{self._root}/{address}", exist_ok=True)
            for path in (*files, folder / MANIFEST):
                remote = f"{self._root}/{address}/{path.name}"
                self._fs.put_file(str(path), remote, callback=_Beats())
        if is_new:
            heartbeat.stored(address)
        self._enforce_quota(entry)

    def _commit_local(self, folder: Path, address: str) -> bool:
        """Rename the folder to its address; returns whether there was no intact entry."""
        target = Path(self._root) / address
        for path in folder.iterdir():
            flush(path)
        flush(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                os.rename(folder, target)
                break
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY, ENOTDIR):
                    raise
            if self._is_intact(address):
                # Another worker has written the same content first.
                return False
            self.remove(address)
        flush(target.parent)
        flush(target.parent.parent)
        return True

    def _is_intact(self, address: str) -> bool:
        with self.open(address) as folder:
            return folder is not None

    @contextmanager
    def open(self, address: str) -> Iterator[Path | None]:
        """A local folder with a verified entry, or None where there is no such entry.

        An entry whose files do not match their hashes, or whose manifest is not its own, is removed
        and can be trained again: a flipped byte loads without an error from every format.
        """
        manifest = self._manifest(address)
        entry = None if manifest is None else parse_manifest(manifest, address)
        if entry is not None:
            with self._local_copy(entry) as folder:
                if entry.matches(folder):
                    yield folder
                    return
        # One that another worker writes in this moment is not damaged.
        if manifest is not None and self._fs.exists(f"{self._root}/{address}/{MANIFEST}"):
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
        if self._is_local:
            yield Path(self._root) / entry.address
            return
        with self._staging.new() as folder:
            for name in entry.files:
                # Verification finds the files that are missing.
                with suppress(FileNotFoundError):
                    remote = f"{self._root}/{entry.address}/{name}"
                    self._fs.get_file(remote, str(folder / name), callback=_Beats())
            yield folder

    def addresses(self, prefix: str) -> set[str]:
        """Addresses below a prefix that have a manifest, by one listing (no manifest is read)."""
        found = self._fs.find(f"{self._root}/{prefix}")
        below = (str(path)[len(self._root) + 1 :] for path in found)
        return {path[: -len(MANIFEST) - 1] for path in below if path.endswith(f"/{MANIFEST}")}

    def checkpoint_steps(self, path: str) -> list[int]:
        """Steps of a training path that have a checkpoint, ascending (none is verified)."""
        prefix = f"{CHECKPOINTS}/{path}"
        found = filter(None, map(parse_checkpoint_address, self.addresses(prefix)))
        return sorted(step for of_path, step in found if of_path == prefix)

    def entries(self, prefix: str) -> list[Entry]:
        """Entries below a prefix (their files are not verified)."""
        return [*filter(None, map(self._entry, sorted(self.addresses(prefix))))]

    def remove(self, address: str) -> None:
        """Remove an entry, atomically: on local disk it is first renamed, elsewhere its manifest is
        removed first."""
        if self._is_local:
            self._staging.remove(Path(self._root) / address)
            return
        for path in (f"{self._root}/{address}/{MANIFEST}", f"{self._root}/{address}"):
            with suppress(FileNotFoundError):
                self._fs.rm(path, recursive=True)

    def location(self, address: str) -> str:
        """Path or URL of an entry, for people."""
        path = f"{self._root}/{address}"
        return path if self._is_local else str(self._fs.unstrip_protocol(path))

    def _entry(self, address: str) -> Entry | None:
        manifest = self._manifest(address)
        return None if manifest is None else parse_manifest(manifest, address)

    def _manifest(self, address: str) -> bytes | None:
        try:
            content: bytes = self._fs.cat_file(f"{self._root}/{address}/{MANIFEST}")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return content

    def _enforce_quota(self, written: Entry) -> None:
        # Reading every manifest at every checkpoint would cost more than a training step: between
        # two counts the store is assumed to grow only by what this process writes.
        self._bytes += written.size_bytes
        is_old = time.monotonic() - self._counted > RECOUNT_SECONDS
        if self.max_bytes == float("inf") or (self._bytes <= self.max_bytes and not is_old):
            return
        entries = [*self.entries(CHECKPOINTS), *self.entries(MODELS)]
        self._counted = time.monotonic()
        self._bytes = sum(entry.size_bytes for entry in entries)
        for entry in removal_order(entries, self.pins.read()):
            if self._bytes <= self.max_bytes:
                return
            if entry.address != written.address:
                self.remove(entry.address)
                self._bytes -= entry.size_bytes
