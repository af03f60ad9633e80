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
    """Address of a checkpoint's path, and its step; None for another kind of entry."""
    found = _CHECKPOINT.fullmatch(address)
    return None if found is None else (found[1], int(found[2]))


@dataclass(frozen=True)
class Entry:
    """One stored folder.

    Args:
        address: Its folder below the root, such as ``checkpoints/<path>/<step>``.
        size_bytes: Bytes of its files.
        modified: When it was written, in seconds since 1970.
        is_final: Whether no training continues from it.
        files: SHA-256 of each file, in hex.
    """

    address: str
    size_bytes: int
    modified: float
    is_final: bool
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Its manifest, with a digest of the manifest itself: the quota relies on its numbers."""
        fields = asdict(self)
        return json.dumps({**fields, "sha256": content_hash(fields)}, indent=2)

    def matches(self, folder: Path) -> bool:
        """Whether a folder has its files, unchanged."""
        try:
            return all(
                _is_regular(folder / name) and sha256(folder / name) == digest
                for name, digest in self.files.items()
            )
        except FileNotFoundError:
            # The quota of another process has just removed it.
            return False


def parse_manifest(manifest: bytes, address: str) -> Entry | None:
    """The entry that a manifest describes; None where it is damaged, or of another address, because
    entries were swapped."""
    try:
        fields = json.loads(manifest)
        if fields.pop("sha256") != content_hash(fields):
            return None
        entry = Entry(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # What JSON, or other bytes, can be instead of what ``to_json`` wrote.
        return None
    return entry if entry.address == address and all(map(_is_file_name, entry.files)) else None


def _is_file_name(name: str) -> bool:
    """Whether a name stays in its entry's folder, unlike ``../x`` in a store that others write."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _is_regular(path: Path) -> bool:
    """Whether a file exists and is no link, whose target could change after it was checked."""
    return path.is_file() and not path.is_symlink()


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
