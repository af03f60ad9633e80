"""What a model that predicts classes gets wrong: inputs, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from objectives.data.batches import EVALUATION_BATCH_SIZE, labelled_image_batch, labelled_text_batch
from objectives.data.encoding import load_tokenizer
from objectives.data.prepared_data import PreparedData
from objectives.data.row_order import rows_by_length
from objectives.measurement.score import logits_of

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mistake:
    """An input that a model answers wrongly.

    Args:
        row: Its number in the split, from 0.
        input: Its text, or the word with a wrong tag behind the sentence; empty for an image.
        expected: Its class.
        predicted: The class that the model gives it.
        confidence: The probability that the model gives to that class.
    """

    row: int
    input: str
    expected: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of a model on a split.

    Args:
        split: The split.
        answers: Answers of the model: of each text, image or tagged word.
        wrong: Wrong ones of them.
        classes: Names of the classes.
        confusion: Answers by the expected class and the predicted one, in the order of ``classes``.
        worst: The wrong answers of the highest confidence, the most confident first.
    """

    split: str
    answers: int
    wrong: int
    classes: tuple[str, ...]
    confusion: list[list[int]]
    worst: list[Mistake]

    def confusions(self) -> list[tuple[int, str, str]]:
        """How often which class was taken for which other one, the most frequent first."""
        pairs = [
            (count, self.classes[expected], self.classes[predicted])
            for expected, counts in enumerate(self.confusion)
            for predicted, count in enumerate(counts)
            if count and expected != predicted
        ]
        return sorted(pairs, key=lambda each: -each[0])


def mistakes(model: nn.Module, data: PreparedData, split: str, most: int) -> Mistakes:
    """Find the mistakes of a model.

    Args:
        model: A model that predicts the classes of texts, of words or of images.
        data: The data that it was trained on, with classes.
        most: Mistakes to list.
    """
    names = data.label_names
    predict = logits_of(model)
    expected: list[int] = []
    predicted: list[int] = []
    confidence: list[float] = []
    rows: list[int] = []
    places: list[int] = []
    with torch.inference_mode():
        for batch_rows, batch in _batches(data, split):
            labels = batch["labels"].numpy()
            probabilities = predict(batch).float().softmax(-1).cpu().numpy()
            # Only the first token of a word has a tag.
            answered = np.nonzero(labels >= 0)
            expected += labels[answered].tolist()
            best = probabilities[answered]
            predicted += best.argmax(-1).tolist()
            confidence += best.max(-1).tolist()
            rows += batch_rows[answered[0]].tolist()
            places += (answered[1] if labels.ndim == 2 else answered[0]).tolist()
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(confusion, (expected, predicted), 1)
    wrong = [index for index in range(len(rows)) if expected[index] != predicted[index]]
    wrong.sort(key=lambda index: (-confidence[index], rows[index]))
    texts = _Texts(data, split)
    worst = [
        Mistake(
            rows[index],
            texts.of(rows[index], places[index]),
            names[expected[index]],
            names[predicted[index]],
            confidence[index],
        )
        for index in wrong[:most]
    ]
    return Mistakes(split, len(rows), len(wrong), names, confusion.tolist(), worst)


def _batches(data: PreparedData, split: str) -> Iterator[tuple[Numbers, dict[str, Any]]]:
    if data.labelled_examples is None:
        images = data.labelled_images(split)
        rows = np.arange(len(images.labels))
        for start in range(0, len(rows), EVALUATION_BATCH_SIZE):
            chosen = rows[start : start + EVALUATION_BATCH_SIZE]
            yield chosen, labelled_image_batch(images, chosen)
        return
    examples = data.labelled_texts(split)
    for chosen in rows_by_length(examples.lengths, EVALUATION_BATCH_SIZE):
        yield chosen, labelled_text_batch(examples, chosen)


class _Texts:
    """The texts of a split."""

    def __init__(self, data: PreparedData, split: str) -> None:
        self._examples = None if data.labelled_examples is None else data.labelled_texts(split)
        self._tokenizer = None if self._examples is None else load_tokenizer(data.tokenizer_file)

    def of(self, row: int, place: int) -> str:
        """The text of an example; of a tagged sentence with the piece of the word before it."""
        examples, tokenizer = self._examples, self._tokenizer
        if examples is None or tokenizer is None:
            return ""
        tokens = examples.tokens[row][: examples.lengths[row]].tolist()
        text = str(tokenizer.decode(tokens)).strip()
        if examples.labels.ndim == 1:
            return text
        return f"{str(tokenizer.decode([tokens[place]])).strip()} in: {text}"
