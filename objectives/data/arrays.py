"""The arrays of prepared data: sources are read, tokenised, and written into a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from objectives.data.encoding import (
    END,
    Template,
    Tokens,
    encoded_batches,
    token_batches,
    train_tokenizer,
    with_template,
)
from objectives.data.errors import DataError
from objectives.data.files.array_file import ArrayFile
from objectives.data.files.notices import Notice
from objectives.data.pixels import normalisation
from objectives.data.prepared_data import (
    LABEL_SCALE,
    NORMALISATION,
    ORIGINAL_TOKENS,
    TARGET_START,
    TextLengths,
)
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.data.sources.documents import Documents
from objectives.data.sources.images import ImageRows, read_images
from objectives.data.sources.reading import read_texts
from objectives.data.sources.sentence_pairs import SentencePairRows
from objectives.data.sources.sizes import imbalance
from objectives.data.sources.splits import Examples
from objectives.data.sources.tagged import FIELD as TAGGED
from objectives.data.sources.tagged import TaggedRows
from objectives.data.sources.text import TextRows
from objectives.data.word_pieces import word_labels
from spaces.file.sources import Data


class Written(NamedTuple):
    """What was written, as ``PreparedData`` has it."""

    label_names: tuple[str, ...]
    counts: dict[str, int]
    lengths: dict[str, TextLengths]
    notices: tuple[str, ...] = ()


def write_arrays(
    data: Data,
    text_splits: tuple[str, ...],
    folder: Path,
    cache: Path,
    pretrained: PretrainedTokenizer | None,
    *,
    are_numbers: bool = False,
) -> Written:
    """Read the sources of a task, make its tokenizer, and write its arrays into a folder.

    Other arguments as of ``read_texts`` and ``prepare``.
    """
    if data.images is not None:
        return _write_images(data, folder, cache)
    notices: list[str] = []
    texts = read_texts(data, text_splits, cache, are_numbers=are_numbers, notice=notices.append)
    if pretrained is None:
        tokenizer = train_tokenizer(texts.sample(), data.vocabulary_size)
    else:
        tokenizer, original = pretrained.trimmed(texts.sample(), data.vocabulary_size)
        np.save(folder / ORIGINAL_TOKENS, original)
    tokenizer.save(str(folder / "tokenizer.json"))
    if are_numbers:
        labels = _standardised(texts.labelled, folder)
    elif texts.tagged:
        labels = _tags(tokenizer, texts.tagged, data.sequence_length)
    else:
        labels = _classes(texts.labelled, "data.labelled", notices.append)
    written = Written(labels.names, {}, {}, tuple(notices))
    _write_running(tokenizer, texts.running, data.sequence_length, folder, written)
    rows = texts.tagged or texts.labelled
    _write_labelled(tokenizer, rows, labels, data.sequence_length, folder, written)
    start = None if pretrained is None else pretrained.target_start
    lengths = {"source": data.sequence_length, "target": data.longest_target}
    _write_pairs(tokenizer, start, texts.pairs, lengths, folder, written)
    return written


def _write_running(
    tokenizer: Any, splits: dict[str, Documents], length: int, folder: Path, written: Written
) -> None:
    for split, documents in splits.items():
        with ArrayFile(folder / f"unlabelled-{split}.npy", np.int32) as stream:
            for tokens in token_batches(tokenizer, documents.texts.documents()):
                stream.append(tokens)
        # The interval of a score needs two sequences.
        needed = length * (1 if split == "train" else 2)
        if stream.rows <= needed:
            raise DataError(
                f"data.unlabelled.{split}: only {stream.rows} tokens; give more than {needed}, for "
                f"{needed // length} sequences of {length}"
            )
        written.counts[f"unlabelled {split} tokens"] = stream.rows


def _write_labelled(
    tokenizer: Any,
    splits: Mapping[str, TextRows | TaggedRows],
    labels: Labels,
    length: int,
    folder: Path,
    written: Written,
) -> None:
    for split, rows in splits.items():
        names = {name: f"{name}-{split}" for name in ("tokens", "lengths", "types")}
        whole = _write_texts(tokenizer, rows.texts, rows.pairs, length, folder, names)
        _save(folder, split, labels=labels.of_split[split], groups=_group_numbers(rows))
        written.counts[f"labelled {split} examples"] = len(rows.texts)
        if rows.groups:
            written.counts[f"labelled {split} groups"] = len(np.unique(rows.units()))
        if split == "train":
            written.lengths["labelled texts"] = TextLengths.of(whole, length)


def _write_texts(
    tokenizer: Any,
    texts: Sequence[str],
    seconds: Sequence[str],
    length: int,
    folder: Path,
    names: Mapping[str, str],
) -> Tokens:
    """Write texts as tokens, some at a time.

    Args:
        names: Of the files for the tokens, their lengths and, where it is given and some are not 0,
            their types.

    Returns:
        Tokens that each text would have if it were not cut ``(texts,)``.
    """
    rows = {"tokens": (length,), "types": (length,), "lengths": ()}
    whole_lengths: list[Tokens] = []
    has_types = False
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(ArrayFile(folder / f"{file}.npy", np.int32, rows[name]))
            for name, file in names.items()
        }
        for encoded in encoded_batches(tokenizer, texts, seconds, sequence_length=length):
            for name, file in files.items():
                file.append(getattr(encoded, name))
            has_types = has_types or bool(encoded.types.any())
            whole_lengths.append(encoded.whole_lengths)
    if "types" in names and not has_types:
        (folder / f"{names['types']}.npy").unlink()
    return np.concatenate(whole_lengths)


def _write_pairs(
    tokenizer: Any,
    start: Sequence[str] | None,
    splits: dict[str, SentencePairRows],
    lengths: Mapping[str, int],
    folder: Path,
    written: Written,
) -> None:
    """Write texts to read and to write, each side with its greatest length; before those to write
    stand the tokens of ``start``, or without it, those that stand before the others."""
    writer = tokenizer
    if start and splits:
        writer = with_template(tokenizer, Template.of_roberta(start, tokenizer.id_to_token(END)))
        np.save(folder / TARGET_START, np.asarray([tokenizer.token_to_id(each) for each in start]))
    for split, sides in splits.items():
        both = (("source", tokenizer, sides.sources), ("target", writer, sides.targets))
        for side, encoder, texts in both:
            names = {name: f"{side}-{name}-{split}" for name in ("tokens", "lengths")}
            whole = _write_texts(encoder, texts, (), lengths[side], folder, names)
            if split == "train":
                written.lengths[f"{side} texts"] = TextLengths.of(whole, lengths[side])
        with (folder / f"references-{split}.json").open("w") as file:
            # As json.dumps writes a list.
            for row, text in enumerate(sides.targets):
                file.write(f"{', ' if row else '['}{json.dumps(text)}")
            file.write("]")
        written.counts[f"{split} pairs"] = len(sides.sources)
        _save_groups(folder, split, sides, written.counts)


def _write_images(data: Data, folder: Path, cache: Path) -> Written:
    notices: list[str] = []
    images = read_images(data, cache, notice=notices.append)
    labels = _classes(images, "data.images", notices.append)
    counts: dict[str, int] = {}
    for split, each in images.items():
        _save(folder, split, **{"pixels": each.pixels, "image-labels": labels.of_split[split]})
        counts[f"{split} images"] = len(each.labels)
        _save_groups(folder, split, each, counts)
    np.save(folder / NORMALISATION, normalisation(data.image_processor, data.channels))
    return Written(labels.names, counts, {}, tuple(notices))


def _save(folder: Path, split: str, **arrays: Any) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}-{split}.npy", array)


class Labels(NamedTuple):
    """Labels as models predict them: the names of classes, and the array of each split."""

    names: tuple[str, ...]
    of_split: dict[str, Any]


def _classes(rows: Mapping[str, TextRows | ImageRows], field: str, notice: Notice) -> Labels:
    if not rows:
        return Labels((), {})
    number = _numbered({split: each.labels for split, each in rows.items()}, field, "label")
    numbers = {
        split: np.asarray([number[label] for label in of_split.labels], dtype=np.int32)
        for split, of_split in rows.items()
    }
    if said := imbalance(numbers["train"], tuple(number), field):
        notice(said)
    return Labels(tuple(number), numbers)


def _tags(tokenizer: Any, rows: Mapping[str, TaggedRows], length: int) -> Labels:
    """The tags of words, at the first piece of each."""
    tags = {split: chain.from_iterable(each.tags) for split, each in rows.items()}
    number = _numbered(tags, TAGGED, "tag")
    labels = {
        split: word_labels(tokenizer, each, number, sequence_length=length)
        for split, each in rows.items()
    }
    return Labels(tuple(number), labels)


def _numbered(labels: Mapping[str, Iterable[str]], field: str, what: str) -> dict[str, int]:
    """The number of each label of the training rows, in the order of their names.

    Args:
        labels: Of each split.
        what: One of them, for messages.

    Raises:
        DataError: Another split has one that these lack.
    """
    found = {split: set(of_split) for split, of_split in labels.items()}
    names = sorted(found["train"])
    for split, of_split in found.items():
        if unknown := sorted(of_split - found["train"]):
            raise DataError(
                f"{field}.{split}: {what} {unknown[0]!r} does not occur in the training "
                f"rows, which have: {', '.join(map(repr, names[:12]))}"
            )
    return {name: index for index, name in enumerate(names)}


def _standardised(rows: Mapping[str, TextRows], folder: Path) -> Labels:
    """Numbers without the mean and in the deviation of the training labels, which are written."""
    values = {split: np.asarray(each.labels, dtype=np.float64) for split, each in rows.items()}
    deviation = deviation_of(rows["train"])
    mean = values["train"].mean()
    for split, each in values.items():
        if each.min() == each.max():
            raise DataError(
                f"data.labelled.{split}: every label is {each[0]:g}; a score needs different ones"
            )
    np.save(folder / LABEL_SCALE, np.asarray([mean, deviation]))
    standardised = {
        split: ((each - mean) / deviation).astype(np.float32) for split, each in values.items()
    }
    return Labels((), standardised)


def deviation_of(train: TextRows) -> float:
    """Standard deviation of training labels that are numbers.

    Raises:
        DataError: They are all equal, or so large that their deviation is no number.
    """
    values = np.asarray(train.labels, dtype=np.float64)
    if values.min() == values.max():
        raise DataError(f"data.labelled.label: every training label is {values[0]:g}")
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = float(values.std())
    if not np.isfinite(deviation):
        raise DataError(
            f"data.labelled.label: from {values.min():g} to {values.max():g}, training labels have "
            "no finite deviation; give them in a larger unit"
        )
    return deviation


def _save_groups(folder: Path, split: str, rows: Examples, counts: dict[str, int]) -> None:
    if rows.groups:
        _save(folder, split, groups=_group_numbers(rows))
        counts[f"{split} groups"] = len(set(rows.groups))


def _group_numbers(rows: Examples) -> Tokens:
    """The group of each row; without groups, rows of equal texts are one."""
    _, first, unit_of = np.unique(rows.units(), return_index=True, return_inverse=True)
    # In the order of their first rows.
    return np.argsort(np.argsort(first))[unit_of].astype(np.int32)
