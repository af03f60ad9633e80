"""The store of checkpoints and compressed models: content-addressed, checked, under a quota.

An entry is a folder of files with a ``manifest.json`` that holds the SHA-256 of each; an entry
without a valid manifest does not exist. Weights are safetensors, everything else is JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from objectives.locks import exclusive
from spaces.errors import UserError

MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"
MODELS = "models"
RECOUNT_SECONDS = 60.0


class StoreError(UserError):
    """A store that cannot be used."""


@dataclass(frozen=True)
class Entry:
    """One stored folder.

    Args:
        address: Its place below the root, such as ``checkpoints/<path>/<step>``.
        size_bytes: Bytes of its files.
        modified: When it was written, in seconds since 1970.
        is_final: Whether nothing will continue from it, because its path ends there.
    """

    address: str
    size_bytes: int
    modified: float
    is_final: bool


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
        self.is_local = "file" in (
            self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)
        )

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

    @contextmanager
    def lease(self, name: str) -> Iterator[None]:
        """Hold a name alone among the processes of this machine (no effect on remote stores)."""
        if not self.is_local:
            yield
            return
        folder = Path(self._root) / "leases"
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / f"{name}.lock"):
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A new empty folder on the store's own disk, for ``publish``; removed afterwards."""
        parent = None
        if self.is_local:
            parent = Path(self._root) / "staging"
            parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, address: str, *, is_final: bool) -> Entry:
        """Make a staged folder an entry, whole or not at all.

        Locally the files are flushed to disk and the folder is renamed; on other stores the
        manifest is written last. An entry that is there already stays.
        """
        files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
        manifest = {
            "files": {path.name: _sha256(path) for path in files},
            "size_bytes": sum(path.stat().st_size for path in files),
            "modified": time.time(),
            "is_final": is_final,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2))
        if self.is_local:
            self._publish_local(folder, Path(self._root) / address)
        else:
            for path in [*files, folder / MANIFEST]:
                self._fs.makedirs(f"{self._root}/{address}", exist_ok=True)
                self._fs.put_file(str(path), f"{self._root}/{address}/{path.name}")
        self._keep_quota(_entry(address, manifest))
        return _entry(address, manifest)

    def _publish_local(self, folder: Path, target: Path) -> None:
        for path in folder.iterdir():
            _fsync(path)
        _fsync(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            # Another worker was first with the same content, or a damaged entry is replaced.
            shutil.rmtree(target)
        os.rename(folder, target)
        _fsync(target.parent)

    @contextmanager
    def open(self, address: str) -> Iterator[Path | None]:
        """A local folder with a verified entry, or None where there is no such entry.

        An entry whose files do not match their hashes is removed: a flipped byte loads without an
        error from every format, and what it was can be trained again.
        """
        manifest = self._manifest(address)
        if manifest is None:
            yield None
            return
        with self._local_copy(address, manifest) as folder:
            intact = all(
                _is_own(folder / name) and _sha256(folder / name) == digest
                for name, digest in manifest["files"].items()
            )
            if not intact:
                self.remove(address)
            yield folder if intact else None

    @contextmanager
    def _local_copy(self, address: str, manifest: dict[str, Any]) -> Iterator[Path]:
        if self.is_local:
            yield Path(self._root) / address
            return
        with tempfile.TemporaryDirectory() as name:
            for file in manifest["files"]:
                self._fs.get_file(f"{self._root}/{address}/{file}", f"{name}/{file}")
            yield Path(name)

    def exists(self, address: str) -> bool:
        """Whether there is an entry at an address (its files are not verified)."""
        return self._manifest(address) is not None

    def addresses(self, prefix: str) -> set[str]:
        """Addresses of all entries below one, from a single listing (manifests are not read)."""
        found = self._fs.find(f"{self._root}/{prefix}")
        below = (str(path)[len(self._root) + 1 :] for path in found)
        return {path[: -len(MANIFEST) - 1] for path in below if path.endswith(f"/{MANIFEST}")}

    def steps(self, path: str) -> list[int]:
        """Steps of a training path that have a checkpoint, ascending."""
        return sorted(
            int(entry.address.rpartition("/")[2]) for entry in self.entries(f"{CHECKPOINTS}/{path}")
        )

    def entries(self, prefix: str) -> list[Entry]:
        """Entries below an address."""
        found = []
        for manifest_path in self._fs.glob(f"{self._root}/{prefix}/**/{MANIFEST}"):
            address = str(manifest_path)[len(self._root) + 1 : -len(MANIFEST) - 1]
            manifest = self._manifest(address)
            if manifest is not None:
                found.append(_entry(address, manifest))
        return found

    def remove(self, address: str) -> None:
        """Remove an entry; its manifest goes first, so that a half-removed one does not exist."""
        for victim in (f"{self._root}/{address}/{MANIFEST}", f"{self._root}/{address}"):
            try:
                self._fs.rm(victim, recursive=True)
            except FileNotFoundError:
                continue

    def location(self, address: str) -> str:
        """Where a person finds an entry: a path, or a URL."""
        path = f"{self._root}/{address}"
        return path if self.is_local else str(self._fs.unstrip_protocol(path))

    def pin(self, addresses: Iterable[str]) -> None:
        """Name the entries that go last when room is needed: those of frontier members."""
        with self._fs.open(f"{self._root}/pinned.json.new", "w") as file:
            json.dump(sorted(addresses), file)
        self._fs.mv(f"{self._root}/pinned.json.new", f"{self._root}/pinned.json")

    def _pinned(self) -> set[str]:
        try:
            with self._fs.open(f"{self._root}/pinned.json", "r") as file:
                return set(json.load(file))
        except (FileNotFoundError, json.JSONDecodeError):
            return set()

    def _manifest(self, address: str) -> dict[str, Any] | None:
        try:
            with self._fs.open(f"{self._root}/{address}/{MANIFEST}", "r") as file:
                manifest: dict[str, Any] = json.load(file)
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None
        return manifest if _is_manifest(manifest) else None

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


def removal_order(entries: list[Entry], pinned: set[str]) -> list[Entry]:
    """Entries from the least to the most useful, the oldest first among equals.

    Points of a path that a later point has passed go first: only a shorter budget would need them.
    Then finished models, which a resume point can make again; then each path's last resume point;
    pinned entries last.
    """
    last_step: dict[str, int] = {}
    for entry in entries:
        if entry.address.startswith(CHECKPOINTS):
            path, _, step = entry.address.rpartition("/")
            last_step[path] = max(last_step.get(path, -1), int(step))

    def usefulness(entry: Entry) -> tuple[int, float]:
        path, _, step = entry.address.rpartition("/")
        if entry.address in pinned:
            rank = 3
        elif entry.is_final:
            rank = 1
        else:
            rank = 2 if int(step) == last_step[path] else 0
        return rank, entry.modified

    return sorted(entries, key=usefulness)


def _is_manifest(found: Any) -> bool:
    """Whether what was read is a manifest, and every file that it names lies in its folder: from a
    store that others write, a name such as ``../x`` would be written where it leads."""
    return (
        isinstance(found, dict)
        and found.keys() >= {"files", "size_bytes", "modified", "is_final"}
        and isinstance(found["files"], dict)
        and all(
            name not in ("", ".", "..") and "/" not in name and "\0" not in name
            for name in found["files"]
        )
    )


def _is_own(path: Path) -> bool:
    """Whether a file is there itself: the store writes no link, and one can lead elsewhere after
    it was checked."""
    return path.is_file() and not path.is_symlink()


def _entry(address: str, manifest: dict[str, Any]) -> Entry:
    return Entry(
        address=address,
        size_bytes=manifest["size_bytes"],
        modified=manifest["modified"],
        is_final=manifest["is_final"],
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
