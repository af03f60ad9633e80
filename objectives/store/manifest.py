"""Entries of the store: their addresses, and the manifest that makes a folder an entry."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from objectives.store import heartbeat
from spaces.cost.configuration import content_hash

CHECKPOINTS = "checkpoints"
MODELS = "models"
MANIFEST = "manifest.json"
PART_BYTES = 1 << 20

_FILE_NAME = re.compile(r"(?!\.{1,2}$)[^/\0]+")
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
                # No link, whose target could change after it was checked.
                path.is_file() and not path.is_symlink() and sha256(path) == self.files[path.name]
                for path in map(folder.joinpath, self.files)
            )
        except FileNotFoundError:
            # The quota of another process may just have removed it.
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
    # In a store that others write, a name such as ``../x`` could lead out of the entry's folder.
    are_names = all(_FILE_NAME.fullmatch(name) for name in entry.files)
    return entry if entry.address == address and are_names else None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex; each part is a heartbeat."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            heartbeat.beat("checking files of the store")
            digest.update(part)
    return digest.hexdigest()
