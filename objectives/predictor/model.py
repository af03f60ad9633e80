"""An exported model: its predictions, and its score on examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .arrays import batches, log_softmax, losses
from .classes import class_score
from .errors import InputError
from .inputs import input_of, pairs_of, pixels_of, texts_of
from .numbers import number_score
from .overlap import overlap
from .runtimes import Inputs, Runtime
from .words import Tags, first_tokens, tag_score, words_of

BATCH_SIZE, BATCH_SIZE_OF_WINDOWS = 64, 32
"""Those of tlc's scores: floating-point sums depend on the batch."""
MOST_WINDOWS = 512
"""Windows of running text that a perplexity is measured on, spread over the text."""

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """The output for one input.

    Args:
        text: Name of the class, the number, the words of a sentence with their tags, the text with
            its masks filled, the translation, the summary, or the continuation of the prompt.
        probability: Of the class, or of all filled masks together; None for all others.
        number: What ``text`` rounds, of a regression.
        tags: Of the words of a sentence; None of one that is cut off.
    """

    text: str
    probability: float | None = None
    number: float | None = None
    tags: Tags = ()

    def __str__(self) -> str:
        if self.probability is None:
            return self.text
        return f"{self.text} ({100 * self.probability:.1f} %)"


class Model:
    """An exported model.

    Args:
        task: The content of ``task.json``.
        tokenizer: A ``tokenizers.Tokenizer``; None for images.
        runtime: What runs it.
    """

    def __init__(self, task: dict[str, Any], tokenizer: Any, runtime: Runtime) -> None:
        self.task = task
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._length: int = task["sequence_length"]
        self._tokens: dict[str, int] = task["tokens"]

    def predict(self, inputs: Sequence[Any]) -> list[Prediction]:
        """Compute the predictions for inputs, in their order.

        Args:
            inputs: Texts; pairs of texts, where the model was trained on pairs; sentences, as lists
                of words or with spaces between these (token-classification); texts with
                ``<mask>`` (masked-lm); prompts (causal-lm); or images, as a path, the bytes of an
                image file, or a ``PIL.Image.Image``. Long texts are cut as in training.

        Raises:
            InputError: An input is of the wrong kind, or no image.
        """
        if not inputs:
            return []
        by_task: dict[str, Callable[[], list[Prediction]]] = {
            "classification": lambda: self._of_texts(self._texts_of(inputs), self._class_of),
            "regression": lambda: self._of_texts(self._texts_of(inputs), self._number_of),
            "token-classification": lambda: self._tag(inputs),
            "masked-lm": lambda: list(map(self._fill_masks, texts_of(inputs))),
            "causal-lm": lambda: list(map(self._continue, texts_of(inputs))),
            "translation": lambda: self._write(texts_of(inputs)),
            "summarisation": lambda: self._write(texts_of(inputs)),
            "image-classification": lambda: self._classify_images(inputs),
        }
        return by_task[self.task["name"]]()

    def score(self, examples: Sequence[Mapping[str, Any]]) -> float:
        """The score on examples, by the metric of the search.

        Args:
            examples: With ``text``, and ``text_pair`` where there are pairs, and ``label``; with
                ``words`` and ``tags``, lists of equal length (token-classification); with
                ``image``, a path, or ``png``, the base64 of an image file, and ``label``; with
                ``text`` and ``target`` (translation, summarisation); with ``text``, a document, or
                a part of one that ``continues`` (causal-lm); or with ``input_ids``, ``positions``
                and ``targets``, the tokens at them (masked-lm).
        """
        if self.task["name"] == "causal-lm":
            return self._score_of_text(examples)
        if self.task["name"] == "masked-lm":
            return self._perplexity_of_masks(examples)
        predictions = self.predict([input_of(each) for each in examples])
        if self.task["name"] == "regression":
            numbers = [each.number for each in predictions]
            return number_score(numbers, [each["label"] for each in examples], self.task["metric"])
        if self.task["name"] == "token-classification":
            tags, wanted = [each.tags for each in predictions], [each["tags"] for each in examples]
            return tag_score(tags, wanted, self.task["metric"], self.task["labels"])
        texts = [each.text for each in predictions]
        if self.task["target_length"]:
            references = [each["target"] for each in examples]
            return overlap(texts, references, self.task["metric"], self.task["bleu_tokenizer"])
        labels = [each["label"] for each in examples]
        return class_score(texts, labels, self.task["metric"], self.task["labels"])

    def _texts_of(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return pairs_of(inputs) if self.task["takes_pairs"] else texts_of(inputs)

    def _class_of(self, inputs: Inputs) -> list[Prediction]:
        return self._classes(self._runtime.logits(inputs))

    def _number_of(self, inputs: Inputs) -> list[Prediction]:
        mean, deviation = self.task["label_scale"]
        numbers = mean + deviation * self._runtime.logits(inputs)[:, 0].astype(np.float64)
        return [Prediction(f"{each:.6g}", number=each) for each in numbers.tolist()]

    def _tag(self, inputs: Sequence[Any]) -> list[Prediction]:
        """Tags of the words of sentences, each that of its first token."""
        sentences = list(map(words_of, inputs))
        texts = [" ".join(words) for words in sentences]
        encoded = self._tokenizer.encode_batch(texts)
        chosen = self._in_batches(encoded, lambda each: list(self._runtime.logits(each).argmax(-1)))
        predictions: list[Prediction] = []
        for words, row, encoding in zip(sentences, chosen, encoded, strict=True):
            places = first_tokens(words, encoding)
            tags = [self.task["labels"][row[place]] if place >= 0 else None for place in places]
            pairs = zip(words, tags, strict=True)
            text = " ".join(f"{word}/{'?' if tag is None else tag}" for word, tag in pairs)
            predictions.append(Prediction(text, tags=tags))
        return predictions

    def _classify_images(self, images: Sequence[Any]) -> list[Prediction]:
        predictions: list[Prediction] = []
        for some in batches(images, BATCH_SIZE):
            pixels = np.stack([self._pixels_of(each) for each in some])
            predictions += self._classes(self._runtime.logits({"pixel_values": pixels}))
        return predictions

    def _pixels_of(self, image: Any) -> Any:
        return pixels_of(
            image,
            self.task["image_processor"],
            size=self.task["image_size"],
            channels=self.task["channels"],
            background=self.task["background"],
        )

    def _classes(self, logits: Any) -> list[Prediction]:
        # The class is that of the logits: rounding in the softmax could make ties of them.
        best, probabilities = logits.argmax(-1), np.exp(log_softmax(logits))
        return [
            Prediction(self.task["labels"][index], float(row[index]))
            for index, row in zip(best, probabilities, strict=True)
        ]

    def _write(self, texts: list[str]) -> list[Prediction]:
        def written(inputs: Inputs) -> list[Prediction]:
            generated = self._tokenizer.decode_batch(self._runtime.generate(inputs))
            return list(map(Prediction, generated))

        return self._of_texts(texts, written)

    def _of_texts(self, texts: Sequence[Any], predict: Callable[[Inputs], list[T]]) -> list[T]:
        return self._in_batches(self._tokenizer.encode_batch(texts), predict)

    def _in_batches(self, encoded: Sequence[Any], predict: Callable[[Inputs], list[T]]) -> list[T]:
        """Predict encoded texts in batches of similar length, as they are scored."""
        predictions: dict[int, T] = {}
        order = np.argsort([len(each) for each in encoded], kind="stable")
        for rows in batches(order, BATCH_SIZE):
            shape = len(rows), len(encoded[rows[-1]])
            ids = np.full(shape, self._tokens["pad"], dtype=np.int64)
            mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for place, row in enumerate(rows):
                length = len(encoded[row])
                ids[place, :length] = encoded[row].ids
                mask[place, :length] = 1
                types[place, :length] = encoded[row].type_ids
            inputs = {"input_ids": ids, "attention_mask": mask}
            if self.task["has_token_types"]:
                inputs["token_type_ids"] = types
            found = predict(inputs)
            for row, prediction in zip(rows, found, strict=True):
                predictions[row] = prediction
        return [predictions[row] for row in range(len(encoded))]

    def _continue(self, text: str) -> Prediction:
        # A long prompt is cut to half of the window, the rest of which is generated.
        prompt = self._tokenizer.encode(text).ids[-(self._length // 2) :] or [self._tokens["end"]]
        ids = np.asarray([prompt], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        (generated,) = self._runtime.generate(inputs)
        continuation = [each for each in generated[len(prompt) :] if each != self._tokens["end"]]
        return Prediction(self._tokenizer.decode(continuation, skip_special_tokens=False))

    def _fill_masks(self, text: str) -> Prediction:
        mask = self._tokenizer.id_to_token(self._tokens["mask"])
        # In training a mask replaces a token with the space before it.
        first, *others = self._tokenizer.encode_batch(
            text.replace(f" {mask}", mask).split(mask), add_special_tokens=False
        )
        found = [self._tokens["start"], *first.ids]
        for each in others:
            found += [self._tokens["mask"], *each.ids]
        ids = np.asarray([*found[: self._length - 1], self._tokens["end"]])
        places = np.flatnonzero(ids == self._tokens["mask"])
        if len(places) == 0 or len(places) < len(others):
            raise InputError(
                f"input: {text[:60]!r} must have {mask} within the {self._length - 2} tokens that "
                "the model reads"
            )
        logits = self._logits_of(ids[None])[0, places]
        # Special tokens are no words of a text.
        logits[:, list(self._tokens.values())] = -np.inf
        ids[places] = logits.argmax(-1)
        # Without the start and end tokens; other special tokens are part of the text.
        written = self._tokenizer.decode(ids[1:-1].tolist(), skip_special_tokens=False)
        return Prediction(written, float(np.exp(log_softmax(logits).max(-1).sum())))

    def _logits_of(self, ids: Any) -> Any:
        return self._runtime.logits({"input_ids": ids.astype(np.int64)})

    def _score_of_text(self, examples: Sequence[Mapping[str, Any]]) -> float:
        """Perplexity or bits per byte, in windows that are spread over the documents."""
        encoded = self._tokenizer.encode_batch([each["text"] for each in examples])
        tokens: list[int] = []
        for ids, each in zip(encoded, examples, strict=True):
            tokens += ids.ids if each.get("continues") else [*ids.ids, self._tokens["end"]]
        stream = np.asarray(tokens)
        count = (len(stream) - 1) // self._length
        chosen = np.linspace(0, count - 1, min(count, MOST_WINDOWS)).astype(np.int64)
        is_by_byte = self.task["metric"] == "bits-per-byte"
        found: list[float] = []
        sizes: list[int] = []
        for rows in batches(chosen, BATCH_SIZE_OF_WINDOWS):
            windows = stream[rows[:, None] * self._length + np.arange(self._length + 1)]
            found += losses(self._logits_of(windows[:, :-1]), windows[:, 1:]).mean(1).tolist()
            if is_by_byte:
                texts = self._tokenizer.decode_batch(windows[:, 1:].tolist())
                sizes += [len(text.encode()) for text in texts]
        if is_by_byte:
            return sum(found) * self._length / math.log(2.0) / sum(sizes)
        return math.exp(float(np.mean(found)))

    def _perplexity_of_masks(self, examples: Sequence[Mapping[str, Any]]) -> float:
        found: list[float] = []
        for some in batches(examples, BATCH_SIZE):
            logits = self._logits_of(np.asarray([each["input_ids"] for each in some]))
            for of_one, each in zip(logits, some, strict=True):
                of_masks = losses(of_one[each["positions"]], np.asarray(each["targets"]))
                found.append(float(of_masks.mean()))
        return math.exp(float(np.mean(found)))
