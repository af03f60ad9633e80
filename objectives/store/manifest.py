"""Entries of the store: their addresses, and the manifest that makes a folder an entry."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spaces.cost.configuration import content_hash

CHECKPOINTS = "checkpoints"
MODELS = "models"
MANIFEST = "manifest.json"

_CHECKPOINT = re.compile(rf"({CHECKPOINTS}/[^/]+)/([0-9]{{8,}})")


def checkpoint_address(path: str, step: int) -> str:
    """Address of a step of a training path."""
    return f"{CHECKPOINTS}/{path}/{step:08d}"


def parse_checkpoint_address(address: str) -> tuple[str, int] | None:
    """Address of a checkpoint's path, and its step; None where an address is no checkpoint's."""
    found = _CHECKPOINT.fullmatch(address)
    return None if found is None else (found[1], int(found[2]))


@dataclass(frozen=True)
class Entry:
    """One stored folder.

    Args:
        address: Its place below the root, such as ``checkpoints/<path>/<step>``.
        size_bytes: Bytes of its files.
        modified: When it was written, in seconds since 1970.
        is_final: Whether nothing will continue from it, because its path ends there.
        files: SHA-256 of each file, in hex.
    """

    address: str
    size_bytes: int
    modified: float
    is_final: bool
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of its manifest, which has a digest of itself too: its numbers count as much as
        its files, for the quota removes by them."""
        fields = asdict(self)
        return json.dumps({**fields, "sha256": content_hash(fields)}, indent=2)

    def matches(self, folder: Path) -> bool:
        """Whether a folder has its files, unchanged."""
        try:
            return all(
                _is_own(folder / name) and sha256(folder / name) == digest
                for name, digest in self.files.items()
            )
        except FileNotFoundError:
            # Removed meanwhile, to make room.
            return False


def parse_manifest(manifest: bytes, address: str) -> Entry | None:
    """The entry that a manifest at an address tells of; None where it is damaged or of another
    address, which is what two entries look like after somebody swapped them."""
    try:
        fields = json.loads(manifest)
        if fields.pop("sha256") != content_hash(fields):
            return None
        entry = Entry(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Whatever bytes can be instead of what ``manifest`` wrote.
        return None
    return entry if entry.address == address and all(map(_is_name, entry.files)) else None


def _is_name(name: str) -> bool:
    """Whether a file lies in its entry's folder: from a store that others write, a name such as
    ``../x`` would be written where it leads."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _is_own(path: Path) -> bool:
    """Whether a file is there itself: the store writes no link, and one can lead elsewhere after
    it was checked."""
    return path.is_file() and not path.is_symlink()


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
