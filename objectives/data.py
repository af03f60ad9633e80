"""From rows to token arrays: tokenised once, memory-mapped by every trial."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from objectives.locks import exclusive
from objectives.sources import DataError, Rows, check_files, read, source_key
from objectives.tokenizer import END, PAD, START, train_tokenizer
from spaces.configuration import content_hash
from spaces.search_file import Data, Task

Tokens = npt.NDArray[np.int32]

FORMAT = 1
"""Raised when what is written here changes its meaning."""


@dataclass(frozen=True)
class Labelled:
    """Examples of one split.

    Args:
        tokens: Token ids, ``(examples, sequence)``, padded at the end.
        lengths: Tokens of each example without padding, ``(examples,)``.
        labels: Class of each example, ``(examples,)``.
    """

    tokens: Tokens
    lengths: Tokens
    labels: Tokens


@dataclass(frozen=True)
class PreparedData:
    """Everything that trials read, as memory-mapped arrays.

    Args:
        folder: Where it is.
        fingerprint: SHA-256 over all arrays and the tokenizer.
        label_names: Name of each class, in the order of their numbers.
        counts: Tokens of each unlabelled split and examples of each labelled one.
    """

    folder: Path
    fingerprint: str
    label_names: tuple[str, ...]
    counts: dict[str, int]

    def stream(self, split: str) -> Tokens:
        """Unlabelled tokens of a split, ``(tokens,)``; texts are joined by the end token."""
        return _map(self.folder / f"unlabelled-{split}.npy")

    def labelled(self, split: str) -> Labelled:
        """Labelled examples of a split."""
        tokens, lengths, labels = (
            _map(self.folder / f"{part}-{split}.npy") for part in ("tokens", "lengths", "labels")
        )
        return Labelled(tokens, lengths, labels)

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer, as ``tokenizers`` writes it."""
        return self.folder / "tokenizer.json"


def prepare(data: Data, task: Task, root: Path) -> PreparedData:
    """Read, tokenise and cache the data of a search; the second call only opens it.

    Args:
        data: The sources, the vocabulary size and the sequence length.
        task: The task, for the number of classes.
        root: Folder of the cache.

    Raises:
        DataError: The data is missing, empty, or not what the search file says.
    """
    check_files(data.unlabelled, "data.unlabelled")
    check_files(data.labelled, "data.labelled")
    key = content_hash(
        {
            "format": FORMAT,
            "unlabelled": source_key(data.unlabelled),
            "labelled": source_key(data.labelled),
            "vocabulary": data.vocabulary_size,
            "sequence": data.sequence_length,
        }
    )
    folder = root / key[:16]
    root.mkdir(parents=True, exist_ok=True)
    with exclusive(root / f"{key[:16]}.lock"):
        if not (folder / "manifest.json").exists():
            _build(data, folder, cache=root / "datasets")
    prepared = open_prepared(folder)
    if len(prepared.label_names) != task.classes:
        names = ", ".join(prepared.label_names[:12])
        raise DataError(
            f"task.classes: {task.classes}, but the labelled data has "
            f"{len(prepared.label_names)} labels: {names}"
        )
    return prepared


def open_prepared(folder: Path) -> PreparedData:
    """Open what ``prepare`` wrote, without looking at the sources."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return PreparedData(
        folder=folder,
        fingerprint=manifest["fingerprint"],
        label_names=tuple(manifest["label_names"]),
        counts=manifest["counts"],
    )


def _build(data: Data, folder: Path, *, cache: Path) -> None:
    unlabelled = read(data.unlabelled, "data.unlabelled", cache, with_labels=False)
    labelled = read(data.labelled, "data.labelled", cache, with_labels=True)
    names = _label_names(labelled)
    tokenizer = train_tokenizer(
        [*unlabelled["train"].texts, *labelled["train"].texts], data.vocabulary_size
    )
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix="staging-"))
    try:
        tokenizer.save(str(staging / "tokenizer.json"))
        counts = {}
        for split in ("train", "validation"):
            stream = _stream(tokenizer, unlabelled[split], data.sequence_length, split)
            np.save(staging / f"unlabelled-{split}.npy", stream)
            counts[f"unlabelled {split} tokens"] = len(stream)
        for split, rows in labelled.items():
            _save_labelled(staging, split, rows, names, tokenizer, data.sequence_length)
            counts[f"labelled {split} examples"] = len(rows.texts)
        manifest = {"fingerprint": _digest(staging), "label_names": names, "counts": counts}
        (staging / "manifest.json").write_text(json.dumps(manifest, indent=2))
        os.rename(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _label_names(labelled: dict[str, Rows]) -> list[str]:
    names = sorted(set(labelled["train"].labels))
    for split, rows in labelled.items():
        unknown = sorted(set(rows.labels) - set(names))
        if unknown:
            raise DataError(
                f"data.labelled.{split}: label {unknown[0]!r} does not occur in the training "
                f"rows, which have: {', '.join(names[:12])}"
            )
    return names


def _stream(tokenizer: Any, rows: Rows, sequence_length: int, split: str) -> Tokens:
    encodings = tokenizer.encode_batch(
        [text for text in rows.texts if text.strip()], add_special_tokens=False
    )
    parts = [part for encoding in encodings for part in (encoding.ids, [END])]
    stream = np.concatenate([np.asarray(part, dtype=np.int32) for part in parts])
    if len(stream) < sequence_length:
        raise DataError(
            f"data.unlabelled.{split}: only {len(stream)} tokens; a sequence has {sequence_length}"
        )
    return stream


def _save_labelled(
    folder: Path,
    split: str,
    rows: Rows,
    names: list[str],
    tokenizer: Any,
    sequence_length: int,
) -> None:
    tokens = np.full((len(rows.texts), sequence_length), PAD, dtype=np.int32)
    lengths = np.empty(len(rows.texts), dtype=np.int32)
    encodings = tokenizer.encode_batch(rows.texts, add_special_tokens=False)
    for row, encoding in enumerate(encodings):
        ids = [START, *encoding.ids[: sequence_length - 2], END]
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
    number = {name: index for index, name in enumerate(names)}
    labels = np.asarray([number[label] for label in rows.labels], dtype=np.int32)
    for part, array in (("tokens", tokens), ("lengths", lengths), ("labels", labels)):
        np.save(folder / f"{part}-{split}.npy", array)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _map(path: Path) -> Tokens:
    array: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def describe(prepared: PreparedData) -> dict[str, Any]:
    """The data's facts for the record: fingerprint, labels and counts."""
    facts = asdict(prepared)
    del facts["folder"]
    return facts
