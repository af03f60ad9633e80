"""The validation examples of a search, as an exported model scores them without tlc."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.batches import MaskedBatches
from objectives.data.encoding import (
    document_parts,
    encode_texts,
    load_tokenizer,
    token_stream,
)
from objectives.data.errors import DataError
from objectives.data.prepare import splits_of_running_text
from objectives.data.prepared_data import PreparedData
from objectives.data.sources.documents import read_documents
from objectives.data.sources.sentence_pairs import read_sentence_pairs
from objectives.data.sources.tagged import read_tagged
from objectives.data.sources.text import read_labelled
from objectives.tasks.masked_lm import EVALUATION_BATCH, EVALUATION_SEED, MAX_EVALUATION
from spaces.cost.workload import Workload
from spaces.file.sources import Data, OfLabelled
from spaces.file.tasks import Task

SPLIT = "validation"
EXAMPLES = "evaluation.jsonl"

Example = dict[str, Any]


def write_examples(
    folder: Path, task: Task, sources: Data, data: PreparedData, workload: Workload
) -> None:
    """Write ``evaluation.jsonl``, a JSON object a line, in the order of the validation split.

    Texts are read from their sources again, because prepared data has them only as tokens.

    Raises:
        DataError: The sources are gone, or have changed since the data was prepared.
    """
    with (folder / EXAMPLES).open("w", encoding="utf-8") as file:
        for example in _examples(task, sources, data, workload):
            file.write(json.dumps(example) + "\n")


def _examples(
    task: Task, sources: Data, data: PreparedData, workload: Workload
) -> Iterator[Example]:
    cache = data.folder.parent / "datasets"
    if sources.images is not None:
        return _images(data, sources.image_processor.resize)
    if sources.labelled is not None:
        return _labelled(sources, data, cache, workload.sequence_length)
    if sources.tagged is not None:
        return _tagged(sources, data, cache, workload.sequence_length)
    if sources.parallel is not None:
        return _pairs(sources, data, cache, workload.sequence_length)
    if task.name == "masked-lm":
        return _masked(data, workload)
    return _documents(task, sources, data, cache)


def _images(data: PreparedData, resize: int | None) -> Iterator[Example]:
    """The prepared images; where their processor cuts out the centre, within a black margin, so
    that it cuts out the same again."""
    from PIL import Image, ImageOps

    images = data.labelled_images(SPLIT)
    for pixels, label in zip(images.pixels, images.labels, strict=True):
        file = io.BytesIO()
        array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        picture = Image.fromarray(np.ascontiguousarray(array))
        if resize is not None:
            before = (resize - picture.width) // 2
            after = resize - picture.width - before
            picture = ImageOps.expand(picture, (before, before, after, after))
        picture.save(file, format="PNG")
        png = base64.b64encode(file.getvalue()).decode()
        yield {"png": png, "label": data.label_names[label]}


def _labelled(sources: Data, data: PreparedData, cache: Path, length: int) -> Iterator[Example]:
    assert sources.labelled is not None
    are_numbers = not data.label_names
    rows = read_labelled(sources.labelled, "data.labelled", cache, are_numbers=are_numbers)[SPLIT]
    tokenizer = load_tokenizer(data.tokenizer_file)
    found = encode_texts(tokenizer, rows.texts, rows.pairs, sequence_length=length)
    _check_same(found.tokens, data.labelled_texts(SPLIT).tokens)
    for index, (text, label) in enumerate(zip(rows.texts, rows.labels, strict=True)):
        second = {"text_pair": rows.pairs[index]} if rows.pairs else {}
        yield {"text": text, **second, "label": float(label) if are_numbers else label}


def _tagged(sources: Data, data: PreparedData, cache: Path, length: int) -> Iterator[Example]:
    assert sources.tagged is not None
    rows = read_tagged(sources.tagged, cache)[SPLIT]
    tokenizer = load_tokenizer(data.tokenizer_file)
    found = encode_texts(tokenizer, rows.texts, sequence_length=length)
    _check_same(found.tokens, data.labelled_texts(SPLIT).tokens)
    for words, tags in zip(rows.words, rows.tags, strict=True):
        yield {"words": words, "tags": tags}


def _pairs(sources: Data, data: PreparedData, cache: Path, length: int) -> Iterator[Example]:
    assert sources.parallel is not None
    pairs = read_sentence_pairs(sources.parallel, cache)[SPLIT]
    tokenizer = load_tokenizer(data.tokenizer_file)
    found = encode_texts(tokenizer, pairs.sources, sequence_length=length)
    _check_same(found.tokens, data.sentence_pairs(SPLIT).sources)
    for text, target in zip(pairs.sources, data.references(SPLIT), strict=True):
        yield {"text": text, "target": target}


def _documents(task: Task, sources: Data, data: PreparedData, cache: Path) -> Iterator[Example]:
    # A language model has no labels, and its text is of a source of its own.
    assert sources.unlabelled is not None
    assert not isinstance(sources.unlabelled, OfLabelled)
    splits = splits_of_running_text(task)
    texts = read_documents(sources.unlabelled, "data.unlabelled", cache, splits)[SPLIT].texts
    tokenizer = load_tokenizer(data.tokenizer_file)
    _check_same(token_stream(tokenizer, texts), data.token_stream(SPLIT))
    for text in texts:
        *others, last = document_parts((text,))
        yield from ({"text": part, "continues": True} for part in others)
        yield {"text": last}


def _masked(data: PreparedData, workload: Workload) -> Iterator[Example]:
    """The windows of a score with their masks: which tokens are masked is drawn at random."""
    length = workload.sequence_length
    batches = MaskedBatches(
        stream=data.token_stream(SPLIT),
        sequence_length=length,
        batch_size=EVALUATION_BATCH,
        vocabulary_size=workload.vocabulary_size,
        seed=EVALUATION_SEED,
    )
    count = min(batches.sequences, MAX_EVALUATION)
    for start in range(0, count, EVALUATION_BATCH):
        batch = batches(start // EVALUATION_BATCH)
        ids = batch["input_ids"].tolist()
        positions = (batch["positions"].view(len(ids), -1) % length).tolist()
        targets = batch["targets"].view(len(ids), -1).tolist()
        for row in range(min(EVALUATION_BATCH, count - start)):
            yield {"input_ids": ids[row], "positions": positions[row], "targets": targets[row]}


def _check_same(found: Any, prepared: Any) -> None:
    if not np.array_equal(found, prepared):
        raise DataError("data: its sources have changed since the search prepared them")
