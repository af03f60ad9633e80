"""Using an exported model: texts or images in, answers out, computed as its score was.

>>> from pathlib import Path
>>> from objectives.inference import load
>>> load(Path("my-model")).predict(["a text"])  # doctest: +SKIP
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelFileError
from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    encoder_inputs,
    logits,
    pixel_values,
    rows_by_length,
)
from objectives.data.encoding import encode_texts, to_pixels, token_ids
from objectives.data.tokenizer import END, MASK, SPECIAL_TOKENS, load_tokenizer
from objectives.export.bundle import TOKENIZER, PredictionTask, read_task
from objectives.models.decoding import continue_prompt, translate
from spaces.errors import UserError

MASK_TEXT = SPECIAL_TOKENS[MASK]


class InputError(UserError):
    """An input that the model cannot read."""


@dataclass(frozen=True)
class Prediction:
    """What a model says to one input.

    Args:
        text: Name of the class, the text with its masks filled, the translation, or what follows
            the prompt.
        probability: Of the class, or of all filled masks together; None for written text.
    """

    text: str
    probability: float | None = None

    def __str__(self) -> str:
        return (
            self.text
            if self.probability is None
            else f"{self.text} ({100 * self.probability:.1f} %)"
        )


class Predictor:
    """An exported model with its tokenizer and labels.

    Args:
        model: The model, in evaluation mode.
        task: What its answers mean.
        workload: Fields of ``spaces.cost.layout.Workload``: what it reads.
        tokenizer: A ``tokenizers.Tokenizer``; None for images.
    """

    def __init__(
        self, model: nn.Module, task: PredictionTask, workload: dict[str, Any], tokenizer: Any
    ) -> None:
        self.model = model
        self.task = task
        self._workload = workload
        self._length: int = workload["sequence_length"]
        self._tokenizer = tokenizer
        self._predict = self._by_task()[task.name]

    def predict(self, inputs: Sequence[Any]) -> list[Prediction]:
        """Prediction inputs.

        Args:
            inputs: Texts; pairs of texts, where the model was trained on pairs; texts with
                ``<mask>`` (masked-lm); prompts (causal-lm); or images, as a path, the bytes of an
                image file, or a ``PIL.Image.Image``. Long texts are cut as in training.

        Returns:
            One answer for each input, in their order.

        Raises:
            InputError: An input is of the wrong kind, or no image.
        """
        if not inputs:
            return []
        with torch.inference_mode():
            return self._predict(inputs)

    def _by_task(self) -> dict[str, Callable[[Sequence[Any]], list[Prediction]]]:
        return {
            "classification": self._classify_texts,
            "masked-lm": self._fill,
            "causal-lm": self._go_on,
            "translation": self._translate,
            "image-classification": self._classify_images,
        }

    def _classify_texts(self, inputs: Sequence[Any]) -> list[Prediction]:
        firsts, seconds = _pairs(inputs) if self.task.takes_pairs else (_texts(inputs), [])
        tokens, lengths = encode_texts(
            self._tokenizer, firsts, seconds, sequence_length=self._length
        )
        answers = [Prediction("")] * len(inputs)
        for rows in rows_by_length(lengths, EVALUATION_BATCH_SIZE):
            batch = encoder_inputs(tokens[rows, : int(lengths[rows].max())])
            for row, answer in zip(rows, self._classes(batch), strict=True):
                answers[row] = answer
        return answers

    def _classify_images(self, inputs: Sequence[Any]) -> list[Prediction]:
        answers: list[Prediction] = []
        for start in range(0, len(inputs), EVALUATION_BATCH_SIZE):
            pixels = to_pixels(
                [_picture(each) for each in inputs[start : start + EVALUATION_BATCH_SIZE]],
                channels=self._workload["channels"],
                size=self._workload["image_size"],
            )
            answers += self._classes({"pixel_values": pixel_values(pixels)})
        return answers

    def _classes(self, batch: Batch) -> list[Prediction]:
        answers = logits(self.model, batch)
        # The class is that of the logits: rounding in the softmax could make ties of them.
        classes, shares = answers.argmax(-1).tolist(), answers.float().softmax(-1)
        return [
            Prediction(self.task.labels[each], float(share[each]))
            for each, share in zip(classes, shares, strict=True)
        ]

    def _translate(self, inputs: Sequence[Any]) -> list[Prediction]:
        tokens, lengths = encode_texts(
            self._tokenizer, _texts(inputs), sequence_length=self._length
        )
        answers = [Prediction("")] * len(inputs)
        for rows in rows_by_length(lengths, EVALUATION_BATCH_SIZE):
            batch = encoder_inputs(tokens[rows, : int(lengths[rows].max())])
            written = translate(
                self.model,
                batch,
                self._tokenizer,
                beams=self.task.beams,
                sequence_length=self._length,
            )
            for row, text in zip(rows, written, strict=True):
                answers[row] = Prediction(text)
        return answers

    def _go_on(self, inputs: Sequence[Any]) -> list[Prediction]:
        # Half of the window at least is left to write in.
        prompts = [
            ids[-(self._length // 2) :] or [END]
            for ids in token_ids(self._tokenizer, _texts(inputs))
        ]
        return [
            Prediction(
                continue_prompt(self.model, ids, self._tokenizer, sequence_length=self._length)
            )
            for ids in prompts
        ]

    def _fill(self, inputs: Sequence[Any]) -> list[Prediction]:
        # In training a mask stands for a token with the space before it.
        texts = [text.replace(f" {MASK_TEXT}", MASK_TEXT) for text in _texts(inputs)]
        tokens, lengths = encode_texts(self._tokenizer, texts, sequence_length=self._length)
        return [
            self._filled(row[:length], text)
            for row, length, text in zip(tokens, lengths, texts, strict=True)
        ]

    def _filled(self, tokens: Any, text: str) -> Prediction:
        places = np.flatnonzero(tokens == MASK)
        if len(places) == 0 or len(places) < text.count(MASK_TEXT):
            raise InputError(
                f"input: {text[:60]!r} must have {MASK_TEXT} within the {self._length - 2} tokens "
                "that the model reads"
            )
        answers = logits(self.model, {"input_ids": torch.from_numpy(tokens[None].astype(np.int64))})
        shares = answers[0, places].float().softmax(-1)
        # Only the text's own tokens are words that can be written into it.
        best = shares[:, len(SPECIAL_TOKENS) :].max(-1)
        filled = tokens.copy()
        filled[places] = best.indices.numpy() + len(SPECIAL_TOKENS)
        # Without the start and the end; what else is special stood in the text.
        written = self._tokenizer.decode(filled[1:-1].tolist(), skip_special_tokens=False)
        return Prediction(written, float(best.values.prod()))


def load(folder: Path) -> Predictor:
    """Load an exported model, ready to answer.

    Raises:
        ModelFileError: A file is missing, damaged, or of another model.
    """
    task = read_task(folder)
    config = model_file.read_config(folder)
    if len(task.labels) != config["workload"]["classes"]:
        raise ModelFileError(
            f"{folder} names {len(task.labels)} classes and its model has "
            f"{config['workload']['classes']}"
        )
    tokenizer = None
    if config["workload"]["vocabulary_size"]:
        try:
            tokenizer = load_tokenizer(folder / TOKENIZER)
        except Exception as error:
            # tokenizers raises nothing narrower.
            raise ModelFileError(f"{folder / TOKENIZER} cannot be read: {error}") from error
    return Predictor(model_file.load(folder), task, config["workload"], tokenizer)


def _texts(inputs: Sequence[Any]) -> list[str]:
    for each in inputs:
        if not isinstance(each, str):
            raise InputError(f"input: {each!r} is not a text")
    return list(inputs)


def _pairs(inputs: Sequence[Any]) -> tuple[list[str], list[str]]:
    for each in inputs:
        if isinstance(each, str) or len(each) != 2:
            raise InputError(f"input: {each!r} is not a pair of texts")
    return _texts([first for first, _ in inputs]), _texts([second for _, second in inputs])


def _picture(given: Any) -> Any:
    from PIL import Image, ImageOps

    if isinstance(given, Image.Image):
        return given
    try:
        # As datasets reads an image file: a photograph lies the way it was taken.
        return ImageOps.exif_transpose(
            Image.open(io.BytesIO(given) if isinstance(given, bytes) else given)
        )
    except OSError as error:
        name = "the given bytes" if isinstance(given, bytes) else str(given)
        raise InputError(f"input: {name} cannot be read as an image: {error}") from error
