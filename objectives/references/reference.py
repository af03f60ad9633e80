"""A reference: a baseline with its size, and how it is scored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from objectives.measurement.score import Score


@dataclass(frozen=True)
class Reference:
    """A baseline of a task, fitted to its training split alone.

    Args:
        name: In tables and figures.
        description: How it was made, and how its bytes are counted.
        size_bytes: What it needs to predict, tokenizer apart, as for models.
        score: Its score on a split, by the score function of the task.
    """

    name: str
    description: str
    size_bytes: int
    score: Callable[[str], Score]

    def measure(self, splits: list[str]) -> dict[str, Any]:
        """Its facts, and its score on each split, as plain values that JSON can write."""
        return {
            "name": self.name,
            "description": self.description,
            "size_bytes": self.size_bytes,
            "scores": {split: _plain(self.score(split)) for split in splits},
        }


def _plain(score: Score) -> dict[str, Any]:
    values = asdict(score)
    return {
        "score": values.pop("value"),
        "score_low": values.pop("low"),
        "score_high": values.pop("high"),
        **values,
        # What has no probabilities has no loss.
        "loss": score.loss if math.isfinite(score.loss) else None,
    }
