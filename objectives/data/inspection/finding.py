"""What was found in data that a person named, before there is a search file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PRETRAINED = ("labelled", "tagged")
"""Sections whose texts models are pre-trained on."""


@dataclass(frozen=True)
class Finding:
    """A task, and the data of a search file for it.

    Args:
        task: The section ``task``, without the number of classes.
        data: The section ``data``.
        notes: What was seen or decided, and what else is possible, as sentences.
        kind: What the inputs are: ``text`` or ``images``.
        facts: Numbers that determine the space: ``characters`` of the training text, or ``rows``.
    """

    task: Mapping[str, Any]
    data: Mapping[str, Any]
    notes: tuple[str, ...]
    kind: str = "text"
    facts: Mapping[str, float] = field(default_factory=dict)


def data_of(section: str, source: dict[str, Any]) -> dict[str, Any]:
    """The section ``data``: models that are trained from random weights read the same texts first,
    as running text."""
    data = {section: source}
    return {"unlabelled": {"source": "labelled"}, **data} if section in PRETRAINED else data
