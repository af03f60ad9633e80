"""What the training split of some data holds: classes, examples, tokens, and sizes that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.data.defaults import texts_of, with_default_sizes
from objectives.data.errors import DataError
from objectives.data.sources.images import read_images
from search.proposal.spaces import CHARACTERS_OF_A_TOKEN
from spaces.file.base_task import BaseTask
from spaces.file.sources import SIZES, Data

SHOWN = 12
"""Classes whose counts are listed."""
LONGEST_LABEL = 30


@dataclass(frozen=True)
class Contents:
    """What was counted.

    Args:
        facts: ``examples``, ``tokens`` and ``length`` of an example of the training split.
        sizes: Fields of ``data`` that follow it.
        classes: Training examples of each class, the most frequent first; empty without classes.
    """

    facts: dict[str, float]
    sizes: dict[str, int]
    classes: Mapping[str, int]

    @property
    def majority(self) -> float:
        """Fraction of the largest class; 0 without classes."""
        return max(self.classes.values()) / sum(self.classes.values()) if self.classes else 0.0

    @property
    def classes_text(self) -> str:
        """Classes with their counts."""
        parts = [
            f"{name[:LONGEST_LABEL]!r} {count:,}" for name, count in [*self.classes.items()][:SHOWN]
        ]
        rest = len(self.classes) - SHOWN
        return ", ".join(parts) + (f" and {rest:,} more" if rest > 0 else "")


def contents_of(data: Data, task: BaseTask, folder: Path) -> Contents:
    """Count what a search would train on.

    Args:
        task: What the data is for; its classes are not read.
        folder: Of prepared data, into which data sets are downloaded.

    Raises:
        DataError: The data cannot be read, or its labels are of one class only.
    """
    classes: Mapping[str, int]
    if data.images is not None:
        images = read_images(data, folder / "datasets")
        classes = _counted(images["train"].labels)
        length = (data.image_size // data.patch_size) ** 2 + 1
        count = len(images["train"].labels)
        return Contents(_facts(count, count * length, length), {}, classes)
    texts = texts_of(data, task, folder)
    sized = with_default_sizes(data, task, folder, texts=texts)
    missing = data.missing_sizes()
    sizes = {name: getattr(sized, name) for name in SIZES if name in missing}
    classes = {}
    if texts.tagged:
        classes = _counted(tag for tags in texts.tagged["train"].tags for tag in tags)
    elif texts.labelled and task.labels != "numbers":
        classes = _counted(texts.labelled["train"].labels)
    rows: Any = texts.labelled or texts.tagged or texts.running
    examples = len(texts.pairs["train"].sources) if texts.pairs else len(rows["train"].texts)
    tokens = texts.characters / CHARACTERS_OF_A_TOKEN
    return Contents(_facts(examples, tokens, sized.sequence_length), sizes, classes)


def _facts(examples: int, tokens: float, length: int) -> dict[str, float]:
    return {"examples": examples, "tokens": tokens, "length": length}


def _counted(labels: Any) -> Mapping[str, int]:
    counts = dict(Counter(labels).most_common())
    if len(counts) < 2:
        raise DataError(f"every training label is {next(iter(counts), '')!r}; nothing can be told")
    return counts
