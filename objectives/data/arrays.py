"""From sources to the arrays that trials read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.encoding import END, Tokens, encode_texts, token_ids, train_tokenizer
from objectives.data.errors import DataError
from objectives.data.sources.images import ImageRows, read_images
from objectives.data.sources.sentence_pairs import SentencePairRows, read_sentence_pairs
from objectives.data.sources.text import TextRows, read_text
from spaces.file.sources import Data


def write_arrays(
    data: Data, text_splits: tuple[str, ...], folder: Path, cache: Path
) -> tuple[list[str], dict[str, int]]:
    """Read the sources of a task, train its tokenizer, and write its arrays into a folder.

    Of running text, only ``text_splits`` are read. ``datasets`` downloads into ``cache``.

    Returns:
        The names of the classes, and the counts of each split.

    Raises:
        DataError: The data is missing, empty, or not what the search file says.
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
