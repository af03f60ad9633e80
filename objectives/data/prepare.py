"""Preparing the data of a search: sources are read, tokenised and written once, into a cache."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.encoding import END, Tokens, encode_texts, token_ids, train_tokenizer
from objectives.data.errors import DataError
from objectives.data.prepared_data import MANIFEST, PreparedData, open_prepared_data
from objectives.data.sources import standard_library
from objectives.data.sources.images import ImageRows, read_images
from objectives.data.sources.sentence_pairs import SentencePairRows, read_sentence_pairs
from objectives.data.sources.text import TextRows, read_text
from objectives.store.disk_space import is_disk_full
from objectives.store.locks import exclusive_lock
from objectives.store.staging import Staging, flush
from spaces.cost.configuration import content_hash
from spaces.file.sources import (
    SOURCE_FIELDS,
    SPLITS,
    AlignedFiles,
    Data,
    Files,
    ImageFolder,
    Splits,
    StandardLibrary,
)
from spaces.file.tasks import Task

PREPARED_DATA_VERSION = 3
"""Increased when the same sources give other arrays."""


def prepare(data: Data, task: Task, root: Path) -> PreparedData:
    """Read, tokenise and cache the data of a task below a folder; a second call only opens it.

    Raises:
        DataError: The data is missing, empty, or not what the search file says.
    """
    # Running text that only pre-training reads has no test split.
    text_splits = SPLITS if task.needs == ("unlabelled",) else ("train", "validation")
    name = _cache_key(data, text_splits)[:16]
    folder = root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(root / f"{name}.lock"):
            prepared = open_prepared_data(folder) or _build(data, text_splits, folder)
    except Exception as error:
        if not (isinstance(error, OSError) or is_disk_full(error)):
            raise
        raise DataError(
            f"data: cannot be prepared in {root}: {error}; free disk space or fix its permissions, "
            "or name another folder with TLC_HOME"
        ) from error
    classes = getattr(task, "classes", len(prepared.label_names))
    if len(prepared.label_names) != classes:
        names = ", ".join(prepared.label_names[:12])
        raise DataError(
            f"task.classes: {classes}, but the data has {len(prepared.label_names)} labels: {names}"
        )
    return prepared


def _cache_key(data: Data, running_text_splits: Sequence[str]) -> str:
    """Hash of all that determines prepared data; ``DataError`` where a local file is missing."""
    key: dict[str, Any] = {"version": PREPARED_DATA_VERSION, "splits": running_text_splits}
    for name in SOURCE_FIELDS:
        source = getattr(data, name)
        if isinstance(source, StandardLibrary):
            key[name] = standard_library.IDENTITY
        elif source is not None:
            key[name] = source.model_dump_json()
        if isinstance(source, Files | AlignedFiles | ImageFolder):
            key[name] += _digest_of_files(source, f"data.{name}")
    if data.images is not None:
        key["shape"] = [data.image_size, data.channels]
    else:
        key["shape"] = [data.vocabulary_size, data.sequence_length]
    return content_hash(key)


def _digest_of_files(source: Splits[Any], field: str) -> str:
    digest = hashlib.sha256()
    for split in SPLITS:
        for path in map(Path, source.inputs(split)):
            is_folder = isinstance(source, ImageFolder)
            if not (path.is_dir() if is_folder else path.is_file()):
                raise DataError(
                    f"{field}.{split}: no such {'folder' if is_folder else 'file'}: {path}"
                )
            files = sorted(filter(Path.is_file, path.rglob("*"))) if is_folder else [path]
            for file in files:
                digest.update(str(file.relative_to(path)).encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _build(data: Data, text_splits: tuple[str, ...], folder: Path) -> PreparedData:
    """Prepare data under the lock of its folder, atomically."""
    root = folder.parent
    staging = Staging(root / "staging" / socket.gethostname())
    staging.remove_unfinished()
    with staging.new() as new:
        names, counts = _write_arrays(data, text_splits, new, root / "datasets")
        prepared = PreparedData(folder, _digest(new), tuple(names), counts)
        sizes = {path.name: path.stat().st_size for path in new.iterdir()}
        manifest = {**prepared.describe(), "sizes": sizes}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2))
        for path in (*new.iterdir(), new):
            flush(path)
        staging.remove(folder)
        os.rename(new, folder)
        flush(root)
    return prepared


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write_arrays(
    data: Data, text_splits: tuple[str, ...], folder: Path, cache: Path
) -> tuple[list[str], dict[str, int]]:
    """Read the sources of a task, train its tokenizer, and write its arrays into a folder.

    Of running text, only ``text_splits`` are read. ``datasets`` downloads into ``cache``.

    Returns:
        The names of the classes, and the counts of each split.
    """
    if data.images is not None:
        return _write_images(data, folder, cache)
    running: dict[str, TextRows] = {}
    labelled: dict[str, TextRows] = {}
    pairs: dict[str, SentencePairRows] = {}
    corpus: list[str] = []
    if data.unlabelled is not None:
        running = read_text(
            data.unlabelled, "data.unlabelled", cache, with_labels=False, splits=text_splits
        )
        corpus += running["train"].texts
    if data.labelled is not None:
        labelled = read_text(data.labelled, "data.labelled", cache, with_labels=True)
        corpus += [*labelled["train"].texts, *labelled["train"].pairs]
    if data.parallel is not None:
        pairs = read_sentence_pairs(data.parallel, cache)
        corpus += [*pairs["train"].sources, *pairs["train"].targets]
    tokenizer = train_tokenizer(corpus, data.vocabulary_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    counts = {}
    for split, rows in running.items():
        stream = _token_stream(tokenizer, rows, data.sequence_length, split)
        np.save(folder / f"unlabelled-{split}.npy", stream)
        counts[f"unlabelled {split} tokens"] = len(stream)
    names = _label_names(labelled, "data.labelled") if labelled else []
    for split, rows in labelled.items():
        tokens, lengths = encode_texts(
            tokenizer, rows.texts, rows.pairs, sequence_length=data.sequence_length
        )
        labels = _class_numbers(rows.labels, names)
        _save(folder, split, tokens=tokens, lengths=lengths, labels=labels)
        counts[f"labelled {split} examples"] = len(rows.texts)
    for split, sides in pairs.items():
        for side, texts in (("source", sides.sources), ("target", sides.targets)):
            tokens, lengths = encode_texts(tokenizer, texts, sequence_length=data.sequence_length)
            _save(folder, split, **{f"{side}-tokens": tokens, f"{side}-lengths": lengths})
        (folder / f"references-{split}.json").write_text(json.dumps(sides.targets))
        counts[f"{split} sentence pairs"] = len(sides.sources)
    return names, counts


def _write_images(data: Data, folder: Path, cache: Path) -> tuple[list[str], dict[str, int]]:
    images = read_images(data, cache)
    names = _label_names(images, "data.images")
    for split, each in images.items():
        labels = _class_numbers(each.labels, names)
        _save(folder, split, **{"pixels": each.pixels, "image-labels": labels})
    return names, {f"{split} images": len(each.labels) for split, each in images.items()}


def _save(folder: Path, split: str, **arrays: Any) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}-{split}.npy", array)


def _label_names(rows: Mapping[str, TextRows | ImageRows], field: str) -> list[str]:
    names = sorted(set(rows["train"].labels))
    for split, of_split in rows.items():
        unknown = sorted(set(of_split.labels) - set(names))
        if unknown:
            raise DataError(
                f"{field}.{split}: label {unknown[0]!r} does not occur in the training "
                f"rows, which have: {', '.join(names[:12])}"
            )
    return names


def _class_numbers(labels: list[str], names: list[str]) -> Tokens:
    number = {name: index for index, name in enumerate(names)}
    return np.asarray([number[label] for label in labels], dtype=np.int32)


def _token_stream(tokenizer: Any, rows: TextRows, sequence_length: int, split: str) -> Tokens:
    texts = token_ids(tokenizer, [text for text in rows.texts if text.strip()])
    stream = np.concatenate([np.asarray([*ids, END], dtype=np.int32) for ids in texts])
    # The interval of a score needs two sequences.
    needed = sequence_length * (1 if split == "train" else 2)
    if len(stream) <= needed:
        raise DataError(
            f"data.unlabelled.{split}: only {len(stream)} tokens; give more than {needed}, for "
            f"{needed // sequence_length} sequences of {sequence_length}"
        )
    return stream
