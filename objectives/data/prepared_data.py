"""Prepared data: the arrays of a search, which every trial maps into memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.encoding import IGNORED, START, Labels, Normalisation, Pixels, Tokens
from objectives.data.errors import DataError
from objectives.data.sources.sizes import few_examples

MANIFEST = "manifest.json"
ORIGINAL_TOKENS = "original-tokens.npy"
TARGET_START = "target-start.npy"
NORMALISATION = "normalisation.npy"
LABEL_SCALE = "label-scale.npy"
COLUMN = "column-"
"""Before the split and the name of an array of a user's own task."""
TARGETS = "target texts"
"""What texts to write are called in ``PreparedData.lengths``."""
CUT_TO_WARN_OF = 0.01
"""Fraction of texts that are cut from which on it is said."""
FEW_TOKENS = 2_500_000
"""Of unlabelled text to pre-train a classifier on. Fewer gained nothing, as measured by
``benchmarks/text_and_compute.py`` with 120,000 and 2,400,000 tokens (docs/tasks.md)."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts of one split: token ids ``(examples, sequence)``, padded at the end; tokens of each
    without padding ``(examples,)``; the class of each, or its number, standardised,
    ``(examples,)``, or the tag of each word at its first token ``(examples, sequence)``; the group
    of each ``(examples,)``: where the source names none, equal texts are one; and the type of each
    token ``(examples, sequence)``, where models tell the texts of a pair apart by them."""

    tokens: Tokens
    lengths: Tokens
    labels: Labels
    groups: Tokens
    types: Tokens | None = None


@dataclass(frozen=True)
class SentencePairs:
    """Pairs of texts of one split: token ids to read ``(pairs, source)`` and to write
    ``(pairs, target)``, padded at the end, and tokens of each without padding ``(pairs,)``."""

    sources: Tokens
    source_lengths: Tokens
    targets: Tokens
    target_lengths: Tokens

    @property
    def lengths(self) -> Tokens:
        """Tokens of both sides of each pair."""
        return self.source_lengths + self.target_lengths


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split: pixels from 0 to 255, ``(images, channels, height, width)``; the class
    of each ``(images,)``; and how pixels become inputs."""

    pixels: Pixels
    labels: Tokens
    normalisation: Normalisation


@dataclass(frozen=True)
class TextLengths:
    """Tokens of the training texts of a source, the special ones included.

    Args:
        longest: Of the longest text.
        percentile_99: At most this many in 99 % of the texts.
        cut: Fraction of the texts that are longer than ``limit``, and are cut to it.
    """

    longest: int
    percentile_99: int
    cut: float
    limit: int

    @classmethod
    def of(cls, whole_lengths: Tokens, limit: int) -> TextLengths:
        """Of the tokens of each text ``(texts,)``."""
        return cls(
            longest=int(whole_lengths.max()),
            percentile_99=int(np.percentile(whole_lengths, 99, method="inverted_cdf")),
            cut=float(np.mean(whole_lengths > limit)),
            limit=limit,
        )

    def warning(self, texts: str) -> str | None:
        """What to say of some texts, where more than a few of them are cut."""
        if self.cut < CUT_TO_WARN_OF:
            return None
        return (
            f"{self.cut:.0%} of the {texts} are longer than {self.limit} tokens and are cut; 99 % "
            f"have at most {self.percentile_99}: "
            f"data.{'target_length' if texts == TARGETS else 'sequence_length'}"
        )


@dataclass(frozen=True)
class PreparedData:
    """Everything that trials read, as memory-mapped arrays.

    Args:
        folder: The folder of its files.
        fingerprint: SHA-256 over all arrays and the tokenizer.
        label_names: Name of each class, in the order of their numbers; empty without classes.
        counts: Tokens, examples, pairs or images of each split.
        lengths: Tokens of the texts that may be cut, by what they are called.
        notices: What of the data was skipped, merged or guessed, as sentences.
    """

    folder: Path
    fingerprint: str
    label_names: tuple[str, ...]
    counts: dict[str, int]
    lengths: dict[str, TextLengths]
    notices: tuple[str, ...] = ()

    def token_stream(self, split: str) -> Tokens:
        """Running text of a split, ``(tokens,)``; each document is followed by the end token."""
        tokens: Tokens = self._map(f"unlabelled-{split}")
        return tokens

    def labelled_texts(self, split: str) -> LabelledTexts:
        """Labelled texts of a split."""
        names = ("tokens", "lengths", "labels", "groups", *(("types",) * self.has_token_types))
        return LabelledTexts(*(self._map(f"{name}-{split}") for name in names))

    @property
    def label_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of training labels that are numbers; of classes 0 and 1."""
        if not (self.folder / LABEL_SCALE).is_file():
            return 0.0, 1.0
        mean, deviation = self._map(LABEL_SCALE.removesuffix(".npy")).tolist()
        return mean, deviation

    @property
    def majority(self) -> float | None:
        """Fraction of the training labels that are of the most frequent class; None without
        classes."""
        if not self.label_names:
            return None
        is_text = (self.folder / "labels-train.npy").is_file()
        labels = np.asarray(self._map("labels-train" if is_text else "image-labels-train"))
        counts = np.bincount(labels[labels != IGNORED])
        return float(counts.max() / counts.sum())

    @property
    def has_token_types(self) -> bool:
        """Whether its labelled texts are pairs that models tell apart by the types of tokens."""
        return (self.folder / "types-train.npy").is_file()

    def sentence_pairs(self, split: str) -> SentencePairs:
        """Sentence pairs of a split."""
        names = ("source-tokens", "source-lengths", "target-tokens", "target-lengths")
        return SentencePairs(*(self._map(f"{name}-{split}") for name in names))

    @property
    def target_start(self) -> tuple[int, ...]:
        """The tokens before each translation: the one that the decoder starts from, and what a
        checkpoint writes before the first word."""
        if not (self.folder / TARGET_START).is_file():
            return (START,)
        return tuple(map(int, self._map(TARGET_START.removesuffix(".npy"))))

    def groups(self, split: str) -> Tokens | None:
        """The group of each pair or image of a split; None where the source names none."""
        is_there = (self.folder / f"groups-{split}.npy").is_file()
        return self._map(f"groups-{split}") if is_there else None

    def references(self, split: str) -> list[str]:
        """Translations of a split as people wrote them, in the order of its pairs."""
        texts: list[str] = json.loads((self.folder / f"references-{split}.json").read_text())
        return texts

    def labelled_images(self, split: str) -> LabelledImages:
        """Images of a split."""
        names = (f"pixels-{split}", f"image-labels-{split}", NORMALISATION.removesuffix(".npy"))
        return LabelledImages(*map(self._map, names))

    def columns(self, split: str) -> dict[str, Any]:
        """The arrays of a split of a user's own task by name, ``(rows, ...)``."""
        prefix = f"{COLUMN}{split}-"
        names = sorted(path.stem for path in self.folder.glob(f"{prefix}*.npy"))
        return {name.removeprefix(prefix): self._map(name) for name in names}

    @property
    def original_tokens(self) -> Tokens:
        """The number in the checkpoint of each token of its vocabulary, or -1, ``(tokens,)``."""
        tokens: Tokens = self._map(ORIGINAL_TOKENS.removesuffix(".npy"))
        return tokens

    @property
    def labelled_examples(self) -> int | None:
        """Labelled texts to train on, where there are any."""
        return self.counts.get("labelled train examples")

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer, in the format of ``tokenizers``; image data has none."""
        return self.folder / "tokenizer.json"

    def describe(self) -> dict[str, Any]:
        """Its fingerprint, labels, counts and lengths, for the record of the study."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}

    def warnings(self) -> list[str]:
        """What a person should know of it: what was skipped, merged, guessed, or cut; and splits of
        few examples."""
        return warnings_of(self.describe())

    def cautions(self) -> list[str]:
        """Its warnings, and ``shortage`` where there is one."""
        shortage = self.shortage()
        return self.warnings() if shortage is None else [*self.warnings(), shortage]

    def shortage(self) -> str | None:
        """What to say where a classifier has too little text to gain from its pre-training."""
        tokens = self.counts.get("unlabelled train tokens")
        # What starts from a checkpoint has no unlabelled text.
        if self.labelled_examples is None or tokens is None or tokens >= FEW_TOKENS:
            return None
        return (
            f"{tokens:,} tokens of unlabelled text are few: pre-training on fewer than "
            f"{FEW_TOKENS:,} gained nothing where it was measured; give much more text, start "
            'from a pretrained checkpoint, or use the reference (docs/tasks.md, "Where a reference '
            'wins")'
        )

    def _map(self, name: str) -> Any:
        file = self.folder / f"{name}.npy"
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{file} cannot be read: {error}; remove {self.folder}, and it is prepared again"
            ) from error


def open_prepared_data(folder: Path) -> PreparedData | None:
    """Open prepared data without its sources; None where a file is missing or has another size than
    it was written with."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        sizes = manifest["sizes"].items()
        if any((folder / name).stat().st_size != size for name, size in sizes):
            return None
        names = tuple(manifest["label_names"])
        lengths = {texts: TextLengths(**each) for texts, each in manifest["lengths"].items()}
        notices = tuple(manifest["notices"])
        counts = manifest["counts"]
        return PreparedData(folder, manifest["fingerprint"], names, counts, lengths, notices)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        # It does not exist, or is damaged.
        return None


def warnings_of(facts: Mapping[str, Any]) -> list[str]:
    """What to say of the data that a study records (``PreparedData.describe``)."""
    lengths = {texts: TextLengths(**each) for texts, each in facts.get("lengths", {}).items()}
    cut = [said for texts, each in lengths.items() if (said := each.warning(texts))]
    return [*facts.get("notices", ()), *few_examples(facts.get("counts", {})), *cut]


def find_prepared_data(root: Path, fingerprint: str) -> PreparedData | None:
    """Find prepared data by its fingerprint; None where it was removed."""
    found = (open_prepared_data(manifest.parent) for manifest in root.glob(f"*/{MANIFEST}"))
    return next((each for each in found if each and each.fingerprint == fingerprint), None)
