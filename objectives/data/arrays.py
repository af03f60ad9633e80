"""From rows to arrays: what is tokenised and written once for a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.encoding import Tokens, encode_texts
from objectives.data.sources.images import Images, check_images, images_key, read_images
from objectives.data.sources.sentence_pairs import (
    Pairs,
    check_sentence_pairs,
    read_sentence_pairs,
    sentence_pairs_key,
)
from objectives.data.sources.tables import DataError
from objectives.data.sources.text import TextRows, check_text_source, read_text, text_source_key
from objectives.data.tokenizer import END, train_tokenizer
from spaces.cost.configuration import content_hash
from spaces.file.sources import SPLITS, Data
from spaces.file.tasks import Task

PREPARED_DATA_VERSION = 3
"""Raised when what is written here changes its meaning."""


def data_key(data: Data, task: Task) -> str:
    """What determines the prepared data of a search; local files are checked on the way.

    Raises:
        DataError: A local file is missing.
    """
    key: dict[str, Any] = {"format": PREPARED_DATA_VERSION, "splits": _stream_splits(task)}
    for field in ("unlabelled", "labelled"):
        source = getattr(data, field)
        if source is not None:
            check_text_source(source, f"data.{field}")
            key[field] = text_source_key(source)
    if data.parallel is not None:
        check_sentence_pairs(data.parallel)
        key["parallel"] = sentence_pairs_key(data.parallel)
    if data.images is not None:
        check_images(data.images)
        key["images"] = [images_key(data.images), data.image_size, data.channels]
    else:
        key["text"] = [data.vocabulary_size, data.sequence_length]
    return content_hash(key)


def write_arrays(
    data: Data, task: Task, folder: Path, cache: Path
) -> tuple[list[str], dict[str, int]]:
    """Read the sources of a task and write what its trials read.

    Args:
        data: The sources.
        task: Says which splits of running text are needed.
        folder: Where to write.
        cache: Folder for what ``datasets`` downloads or converts.

    Returns:
        The names of the classes, and the counts of each split.

    Raises:
        DataError: The data is missing, empty, or not what the search file says.
    """
    if data.images is not None:
        return _write_images(data, folder, cache)
    texts: list[str] = []
    streams: dict[str, TextRows] = {}
    labelled: dict[str, TextRows] = {}
    pairs: dict[str, Pairs] = {}
    if data.unlabelled is not None:
        streams = read_text(
            data.unlabelled,
            "data.unlabelled",
            cache,
            with_labels=False,
            splits=_stream_splits(task),
        )
        texts += streams["train"].texts
    if data.labelled is not None:
        labelled = read_text(data.labelled, "data.labelled", cache, with_labels=True)
        texts += [*labelled["train"].texts, *labelled["train"].pairs]
    if data.parallel is not None:
        pairs = read_sentence_pairs(data.parallel, cache)
        texts += [*pairs["train"].sources, *pairs["train"].targets]
    tokenizer = train_tokenizer(texts, data.vocabulary_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    counts = {}
    for split, rows in streams.items():
        stream = _stream(tokenizer, rows, data.sequence_length, split)
        np.save(folder / f"unlabelled-{split}.npy", stream)
        counts[f"unlabelled {split} tokens"] = len(stream)
    names = _label_names({split: rows.labels for split, rows in labelled.items()}, "data.labelled")
    for split, rows in labelled.items():
        _save_labelled(folder, split, rows, names, tokenizer, data.sequence_length)
        counts[f"labelled {split} examples"] = len(rows.texts)
    for split, sides in pairs.items():
        _save_pairs(folder, split, sides, tokenizer, data.sequence_length)
        counts[f"{split} sentence pairs"] = len(sides.sources)
    return names, counts


def _stream_splits(task: Task) -> tuple[str, ...]:
    """Splits of running text: where it is only for pre-training, none is kept for the test."""
    return SPLITS if task.needs == ("unlabelled",) else ("train", "validation")


def _write_images(data: Data, folder: Path, cache: Path) -> tuple[list[str], dict[str, int]]:
    images: dict[str, Images] = read_images(data, cache)
    names = _label_names({split: each.labels for split, each in images.items()}, "data.images")
    for split, each in images.items():
        np.save(folder / f"pixels-{split}.npy", each.pixels)
        np.save(folder / f"image-labels-{split}.npy", _numbers(each.labels, names))
    return names, {f"{split} images": len(each.labels) for split, each in images.items()}


def _label_names(labels: dict[str, list[str]], field: str) -> list[str]:
    names = sorted(set(labels.get("train", [])))
    for split, of_split in labels.items():
        unknown = sorted(set(of_split) - set(names))
        if unknown:
            raise DataError(
                f"{field}.{split}: label {unknown[0]!r} does not occur in the training "
                f"rows, which have: {', '.join(names[:12])}"
            )
    return names


def _numbers(labels: list[str], names: list[str]) -> Tokens:
    number = {name: index for index, name in enumerate(names)}
    return np.asarray([number[label] for label in labels], dtype=np.int32)


def _stream(tokenizer: Any, rows: TextRows, sequence_length: int, split: str) -> Tokens:
    encodings = tokenizer.encode_batch(
        [text for text in rows.texts if text.strip()], add_special_tokens=False
    )
    parts = [part for encoding in encodings for part in (encoding.ids, [END])]
    stream = np.concatenate([np.asarray(part, dtype=np.int32) for part in parts])
    # One sequence has no spread, and so its score no interval.
    needed = sequence_length * (1 if split == "train" else 2)
    if len(stream) <= needed:
        raise DataError(
            f"data.unlabelled.{split}: only {len(stream)} tokens; give more than {needed}, for "
            f"{needed // sequence_length} sequences of {sequence_length}"
        )
    return stream


def _save_labelled(
    folder: Path,
    split: str,
    rows: TextRows,
    names: list[str],
    tokenizer: Any,
    sequence_length: int,
) -> None:
    tokens, lengths = encode_texts(
        tokenizer, rows.texts, rows.pairs, sequence_length=sequence_length
    )
    arrays = {"tokens": tokens, "lengths": lengths, "labels": _numbers(rows.labels, names)}
    for part, array in arrays.items():
        np.save(folder / f"{part}-{split}.npy", array)


def _save_pairs(
    folder: Path, split: str, pairs: Pairs, tokenizer: Any, sequence_length: int
) -> None:
    for side, texts in (("source", pairs.sources), ("target", pairs.targets)):
        tokens, lengths = encode_texts(tokenizer, texts, sequence_length=sequence_length)
        np.save(folder / f"{side}-tokens-{split}.npy", tokens)
        np.save(folder / f"{side}-lengths-{split}.npy", lengths)
    (folder / f"references-{split}.json").write_text(json.dumps(pairs.targets))
