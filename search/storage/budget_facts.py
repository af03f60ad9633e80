"""What a study records that turns budgets into steps: speeds of training, and lengths of batches.

The first run of a search records them, and they never change: a resumed search trains the same
steps, also on another machine. Where its space was made wider, speeds that it lacks are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from spaces.cost.architecture import Architecture
from spaces.cost.budget import BatchLengths
from spaces.cost.configuration import content_hash

if TYPE_CHECKING:
    from objectives.data.prepared_data import PreparedData

SPEEDS = "tlc:training_speeds"
BATCHES = "batches"
"""Key of the lengths of batches in the description of the data."""
CHECKPOINTS = "checkpoints"
"""Key of the descriptions for each of several checkpoints, whose tokens or images differ."""


@dataclass(frozen=True)
class RecordedSpeed:
    """The speed of one architecture.

    Args:
        steps_per_second: Of its stable path; 0 where it could not be trained.
        measured: Conditions and spread of the measurement, or ``failure`` for what went wrong;
            empty where the speed is an estimate from other architectures.
    """

    architecture: Architecture
    steps_per_second: float
    measured: dict[str, Any]


class RecordedSpeeds:
    """Steps per second by architecture, as a study recorded them: read once they are there.

    Args:
        attributes: Reads the attributes of the study.
    """

    def __init__(self, attributes: Callable[[], Mapping[str, Any]]) -> None:
        self._attributes = attributes
        self._known: dict[Architecture, RecordedSpeed] = {}

    def __call__(self, architecture: Architecture) -> float | None:
        """Steps of its stable path that an architecture trains in a second; None if unknown."""
        found = self.all().get(architecture)
        if found is None and self._known:
            # Those that a wider space lacks are recorded later.
            self._known = {}
            found = self.all().get(architecture)
        return None if found is None else found.steps_per_second

    def all(self) -> Mapping[Architecture, RecordedSpeed]:
        """Every architecture's; empty before they are measured."""
        if not self._known:
            found = [
                RecordedSpeed(
                    **{**entry, "architecture": Architecture.from_dict(entry["architecture"])}
                )
                for entry in self._attributes().get(SPEEDS, ())
            ]
            self._known = {speed.architecture: speed for speed in found}
        return self._known


class RecordedLengths:
    """Lengths of training batches, as a study recorded them with its data.

    Args:
        data: Reads the description of the data, which is empty before it is prepared; of several
            checkpoints it has one for each (``CHECKPOINTS``).
    """

    def __init__(self, data: Callable[[], Mapping[str, Any]]) -> None:
        self._data = data
        self._known: Mapping[str, Any] = {}

    def __call__(self, checkpoint: str) -> BatchLengths | None:
        """Lengths of the batches; None where none is padded, or before they are recorded.

        Args:
            checkpoint: Which of several; empty otherwise.
        """
        if not self._known:
            self._known = self._data()
        found = data_of(self._known, checkpoint).get(BATCHES)
        return None if found is None else BatchLengths(**found)


def described_data(
    data: Mapping[str, PreparedData], lengths: Mapping[str, BatchLengths | None]
) -> dict[str, Any]:
    """What a study records of its data: of several checkpoints, what is known of the first, a
    fingerprint of all, and each of them by name.

    Args:
        data: By checkpoint; an empty name stands for the only one.
        lengths: Those of the training batches, likewise.
    """
    facts = {
        name: each.describe() | ({BATCHES: asdict(found)} if (found := lengths[name]) else {})
        for name, each in data.items()
    }
    first = next(iter(facts.values()))
    if len(facts) == 1:
        return first
    fingerprint = content_hash({name: each["fingerprint"] for name, each in facts.items()})
    return {**first, "fingerprint": fingerprint, CHECKPOINTS: facts}


def data_of(facts: Mapping[str, Any], checkpoint: str) -> Mapping[str, Any]:
    """What a study records of the data of a checkpoint."""
    found: Mapping[str, Any] = facts.get(CHECKPOINTS, {}).get(checkpoint, facts)
    return found


def to_attribute(speeds: Iterable[RecordedSpeed]) -> list[dict[str, Any]]:
    """Speeds as plain values that JSON can write."""
    return [asdict(speed) for speed in speeds]
