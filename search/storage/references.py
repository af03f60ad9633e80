"""The references of a search as its study records them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REFERENCES = "tlc:references"
"""Attribute of the study: the values of its references, as ``Objective.references`` returns them;
missing until they are measured."""


@dataclass(frozen=True)
class ReferenceRecord:
    """A baseline that was fitted and scored at the start of a search.

    Args:
        name: In tables and figures.
        description: How it was made, and how its bytes are counted.
        size_bytes: What it needs to predict, tokenizer apart, as for models.
        scores: By split, ``score`` with its interval, ``examples`` and ``loss``.
    """

    name: str
    description: str
    size_bytes: int
    scores: Mapping[str, Mapping[str, Any]]

    @property
    def size_mb(self) -> float:
        """Megabytes (10^6 bytes)."""
        return self.size_bytes / 1e6

    @property
    def result(self) -> Mapping[str, Any]:
        """``score`` on validation, with its interval, ``examples`` and ``loss``."""
        return self.scores["validation"]


def references_of(attributes: Mapping[str, Any]) -> list[ReferenceRecord]:
    """The references among a study's attributes; none before they are measured."""
    return [ReferenceRecord(**values) for values in attributes.get(REFERENCES, [])]
