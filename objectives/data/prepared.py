"""Prepared data: tokenised once, memory-mapped by every trial."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from objectives.data.encoding import Pixels, Tokens
from objectives.data.files import DataError
from objectives.data.preparation import data_key, write_arrays
from objectives.store.disk_space import is_full
from objectives.store.locks import exclusive
from objectives.store.staging import flush
from spaces.file.sources import Data
from spaces.file.tasks import Task

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Labelled:
    """Texts of one split with their labels.

    Args:
        tokens: Token ids, ``(examples, sequence)``, padded at the end.
        lengths: Tokens of each example without padding, ``(examples,)``.
        labels: Class of each example, ``(examples,)``.
    """

    tokens: Tokens
    lengths: Tokens
    labels: Tokens


@dataclass(frozen=True)
class Parallel:
    """Sentence pairs of one split.

    Args:
        sources: Token ids to read, ``(pairs, sequence)``, padded at the end.
        source_lengths: Tokens of each without padding, ``(pairs,)``.
        targets: Token ids to write, ``(pairs, sequence)``, padded at the end.
        target_lengths: Tokens of each without padding, ``(pairs,)``.
    """

    sources: Tokens
    source_lengths: Tokens
    targets: Tokens
    target_lengths: Tokens


@dataclass(frozen=True)
class Pictures:
    """Images of one split with their labels.

    Args:
        pixels: 0 to 255, ``(images, channels, height, width)``.
        labels: Class of each image, ``(images,)``.
    """

    pixels: Pixels
    labels: Tokens


@dataclass(frozen=True)
class PreparedData:
    """Everything that trials read, as memory-mapped arrays.

    Args:
        folder: Where it is.
        fingerprint: SHA-256 over all arrays and the tokenizer.
        label_names: Name of each class, in the order of their numbers; empty without classes.
        counts: Tokens, examples, pairs or images of each split.
    """

    folder: Path
    fingerprint: str
    label_names: tuple[str, ...]
    counts: dict[str, int]

    def stream(self, split: str) -> Tokens:
        """Running text of a split, ``(tokens,)``; texts are joined by the end token."""
        return self._map(f"unlabelled-{split}")

    def labelled(self, split: str) -> Labelled:
        """Labelled texts of a split."""
        return Labelled(*(self._map(f"{part}-{split}") for part in ("tokens", "lengths", "labels")))

    def parallel(self, split: str) -> Parallel:
        """Sentence pairs of a split."""
        parts = ("source-tokens", "source-lengths", "target-tokens", "target-lengths")
        return Parallel(*(self._map(f"{part}-{split}") for part in parts))

    def references(self, split: str) -> list[str]:
        """Translations of a split as people wrote them, in the order of its pairs."""
        texts: list[str] = json.loads((self.folder / f"references-{split}.json").read_text())
        return texts

    def images(self, split: str) -> Pictures:
        """Images of a split."""
        return Pictures(self._map(f"pixels-{split}"), self._map(f"image-labels-{split}"))

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer, as ``tokenizers`` writes it; not there for images."""
        return self.folder / "tokenizer.json"

    def _map(self, name: str) -> npt.NDArray[Any]:
        file = self.folder / f"{name}.npy"
        try:
            array: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{file} cannot be read: {error}; remove {self.folder}, and it is made again"
            ) from error
        return array


def prepare(data: Data, task: Task, root: Path) -> PreparedData:
    """Read, tokenise and cache the data of a search; the second call only opens it.

    Args:
        data: The sources, the vocabulary size and the sequence length.
        task: The task, for the number of classes.
        root: Folder of the cache.

    Raises:
        DataError: The data is missing, empty, or not what the search file says.
    """
    key = data_key(data, task)
    folder = root / key[:16]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root / f"{key[:16]}.lock"):
            prepared = open_prepared(folder) or _build(data, task, folder, cache=root / "datasets")
    except Exception as error:
        if not (isinstance(error, OSError) or is_full(error)):
            raise
        raise DataError(
            f"data: cannot be prepared in {root}: {error}; make room or mend its permissions, or "
            "name another folder with TLC_HOME"
        ) from error
    classes = getattr(task, "classes", len(prepared.label_names))
    if len(prepared.label_names) != classes:
        names = ", ".join(prepared.label_names[:12])
        raise DataError(
            f"task.classes: {classes}, but the data has {len(prepared.label_names)} labels: {names}"
        )
    return prepared


def open_prepared(folder: Path) -> PreparedData | None:
    """Open what ``prepare`` wrote, without looking at the sources.

    Returns:
        The data; None where a file is missing or has not the size that it was written with.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["sizes"] != {
            name: (folder / name).stat().st_size for name in manifest["sizes"]
        }:
            return None
        return PreparedData(
            folder=folder,
            fingerprint=manifest["fingerprint"],
            label_names=tuple(manifest["label_names"]),
            counts=manifest["counts"],
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        # Not there, or damaged in whatever way.
        return None


def find_prepared(root: Path, fingerprint: str) -> PreparedData | None:
    """Prepared data by its fingerprint, without looking at the sources; None where it is gone."""
    for manifest in root.glob(f"*/{MANIFEST}"):
        prepared = open_prepared(manifest.parent)
        if prepared is not None and prepared.fingerprint == fingerprint:
            return prepared
    return None


def _build(data: Data, task: Task, folder: Path, *, cache: Path) -> PreparedData:
    """Prepare data while nobody else does; what a killed process left of it is removed."""
    staging = folder.parent / "staging" / folder.name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        names, counts = write_arrays(data, task, staging, cache)
        prepared = PreparedData(folder, _digest(staging), tuple(names), counts)
        sizes = {path.name: path.stat().st_size for path in staging.iterdir()}
        manifest = {**describe(prepared), "sizes": sizes}
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=2))
        for path in (*staging.iterdir(), staging):
            flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(staging, folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return prepared


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def describe(prepared: PreparedData) -> dict[str, Any]:
    """The data's facts for the record: fingerprint, labels and counts."""
    facts = asdict(prepared)
    del facts["folder"]
    return facts
