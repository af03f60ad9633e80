"""Predictions of an exported model, computed as its score was.

>>> from pathlib import Path
>>> from objectives.export.inference import load
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
)
from objectives.data.encoding import (
    END,
    MASK,
    SPECIAL_TOKENS,
    encode_texts,
    load_tokenizer,
    to_pixels,
    token_ids,
)
from objectives.data.row_order import rows_by_length
from objectives.export.bundle import TOKENIZER, PredictionTask, read_task
from objectives.models.decoding import continue_prompt, translate
from spaces.cost.workload import Workload
from spaces.errors import UserError

MASK_TEXT = SPECIAL_TOKENS[MASK]


class InputError(UserError):
    """An input that the model cannot read."""


@dataclass(frozen=True)
class Prediction:
    """The output for one input.

    Args:
        text: Name of the class, the text with its masks filled, the translation, or the
            continuation of the prompt.
        probability: Of the class, or of all filled masks together; None for generated text.
    """

    text: str
    probability: float | None = None

    def __str__(self) -> str:
        if self.probability is None:
            return self.text
        return f"{self.text} ({100 * self.probability:.1f} %)"


@dataclass(frozen=True)
class Predictor:
    """An exported model, in evaluation mode, with its tokenizer (none for images) and task."""

    model: nn.Module
    task: PredictionTask
    workload: Workload
    tokenizer: Any

    @property
    def _length(self) -> int:
        return self.workload.sequence_length

    def predict(self, inputs: Sequence[Any]) -> list[Prediction]:
        """Compute the predictions for inputs, in their order.

        Args:
            inputs: Texts; pairs of texts, where the model was trained on pairs; texts with
                ``<mask>`` (masked-lm); prompts (causal-lm); or images, as a path, the bytes of an
                image file, or a ``PIL.Image.Image``. Long texts are cut as in training.

        Raises:
            InputError: An input is of the wrong kind, or no image.
        """
        if not inputs:
            return []
        by_task = {
            "classification": self._classify_texts,
            "masked-lm": self._fill_masks,
            "causal-lm": self._continue_prompts,
            "translation": self._translate,
            "image-classification": self._classify_images,
        }
        with torch.inference_mode():
            return by_task[self.task.name](inputs)

    def _classify_texts(self, inputs: Sequence[Any]) -> list[Prediction]:
        firsts, seconds = _pairs(inputs) if self.task.takes_pairs else (_texts(inputs), [])
        return self._in_batches(self._classes, firsts, seconds)

    def _classify_images(self, inputs: Sequence[Any]) -> list[Prediction]:
        predictions: list[Prediction] = []
        for start in range(0, len(inputs), EVALUATION_BATCH_SIZE):
            images = [_image(each) for each in inputs[start : start + EVALUATION_BATCH_SIZE]]
            channels, size = self.workload.channels, self.workload.image_size
            pixels = to_pixels(images, channels=channels, size=size)
            predictions += self._classes({"pixel_values": pixel_values(pixels)})
        return predictions

    def _classes(self, batch: Batch) -> list[Prediction]:
        outputs = logits(self.model, batch)
        # The class is that of the logits: rounding in the softmax could make ties of them.
        classes, probabilities = outputs.argmax(-1).tolist(), outputs.float().softmax(-1)
        return [
            Prediction(self.task.labels[each], float(row[each]))
            for each, row in zip(classes, probabilities, strict=True)
        ]

    def _translate(self, inputs: Sequence[Any]) -> list[Prediction]:
        def translations(batch: Batch) -> list[Prediction]:
            texts = translate(
                self.model,
                batch,
                self.tokenizer,
                beams=self.task.beams,
                sequence_length=self._length,
            )
            return [Prediction(text) for text in texts]

        return self._in_batches(translations, _texts(inputs))

    def _in_batches(
        self,
        predict: Callable[[Batch], list[Prediction]],
        texts: list[str],
        seconds: Sequence[str] = (),
    ) -> list[Prediction]:
        """Predict texts in the batches of evaluation, of texts of similar length."""
        tokens, lengths, _ = encode_texts(
            self.tokenizer, texts, seconds, sequence_length=self._length
        )
        predictions = [Prediction("")] * len(texts)
        for rows in rows_by_length(lengths, EVALUATION_BATCH_SIZE):
            batch = encoder_inputs(tokens[rows, : int(lengths[rows].max())])
            for row, prediction in zip(rows, predict(batch), strict=True):
                predictions[row] = prediction
        return predictions

    def _continue_prompts(self, inputs: Sequence[Any]) -> list[Prediction]:
        predictions = []
        for ids in token_ids(self.tokenizer, _texts(inputs)):
            # A long prompt is cut to half of the window, the rest of which is generated.
            prompt = ids[-(self._length // 2) :] or [END]
            text = continue_prompt(self.model, prompt, self.tokenizer, sequence_length=self._length)
            predictions.append(Prediction(text))
        return predictions

    def _fill_masks(self, inputs: Sequence[Any]) -> list[Prediction]:
        # In training a mask replaces a token with the space before it.
        texts = [text.replace(f" {MASK_TEXT}", MASK_TEXT) for text in _texts(inputs)]
        tokens, lengths, _ = encode_texts(self.tokenizer, texts, sequence_length=self._length)
        return [
            self._filled(row[:length], text)
            for row, length, text in zip(tokens, lengths, texts, strict=True)
        ]

    def _filled(self, tokens: Any, text: str) -> Prediction:
        masks = np.flatnonzero(tokens == MASK)
        if len(masks) == 0 or len(masks) < text.count(MASK_TEXT):
            raise InputError(
                f"input: {text[:60]!r} must have {MASK_TEXT} within the {self._length - 2} tokens "
                "that the model reads"
            )
        outputs = logits(self.model, {"input_ids": torch.from_numpy(tokens[None].astype(np.int64))})
        # Special tokens are no words of a text.
        probabilities = outputs[0, masks].float().softmax(-1)[:, len(SPECIAL_TOKENS) :]
        best = probabilities.max(-1)
        filled = tokens.copy()
        filled[masks] = best.indices.numpy() + len(SPECIAL_TOKENS)
        # Without the start and end tokens; other special tokens are part of the text.
        written = self.tokenizer.decode(filled[1:-1].tolist(), skip_special_tokens=False)
        return Prediction(written, float(best.values.prod()))


def load(folder: Path) -> Predictor:
    """Load an exported model.

    Raises:
        ModelFileError: A file is missing, damaged, or of another model.
    """
    task = read_task(folder)
    workload = model_file.read_spec(folder).workload
    if len(task.labels) != workload.classes:
        raise ModelFileError(
            f"{folder} names {len(task.labels)} classes and its model has {workload.classes}"
        )
    tokenizer = None
    if workload.vocabulary_size:
        try:
            tokenizer = load_tokenizer(folder / TOKENIZER)
        except Exception as error:
            # tokenizers raises nothing narrower.
            raise ModelFileError(f"{folder / TOKENIZER} cannot be read: {error}") from error
    return Predictor(model_file.load(folder), task, workload, tokenizer)


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


def _image(given: Any) -> Any:
    from PIL import Image, ImageOps

    if isinstance(given, Image.Image):
        return given
    try:
        # As datasets reads an image file: rotated as its EXIF orientation says.
        return ImageOps.exif_transpose(
            Image.open(io.BytesIO(given) if isinstance(given, bytes) else given)
        )
    except OSError as error:
        name = "the given bytes" if isinstance(given, bytes) else str(given)
        raise InputError(f"input: {name} cannot be read as an image: {error}") from error
