"""What a study records that turns budgets into steps: speeds of training, and lengths of batches.

The first run of a search records them, and they never change: a resumed search trains the same
steps, also on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spaces.cost.architecture import Architecture
from spaces.cost.budget import BatchLengths

SPEEDS = "tlc:training_speeds"
BATCHES = "batches"
"""Key of the lengths of batches in the description of the data."""


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
        return None if found is None else found.steps_per_second

    def all(self) -> Mapping[Architecture, RecordedSpeed]:
        """Every architecture's; empty before they are measured."""
        if not self._known:
            found = [
                RecordedSpeed(**{**entry, "architecture": Architecture(**entry["architecture"])})
                for entry in self._attributes().get(SPEEDS, ())
            ]
            self._known = {speed.architecture: speed for speed in found}
        return self._known


class RecordedLengths:
    """Lengths of training batches, as a study recorded them with its data.

    Args:
        data: Reads the description of the data, which is empty before it is prepared.
    """

    def __init__(self, data: Callable[[], Mapping[str, Any]]) -> None:
        self._data = data
        self._known: Mapping[str, Any] = {}

    def __call__(self) -> BatchLengths | None:
        """Lengths of the batches; None where none is padded, or before they are recorded."""
        if not self._known:
            self._known = self._data()
        found = self._known.get(BATCHES)
        return None if found is None else BatchLengths(**found)


def to_attribute(speeds: Iterable[RecordedSpeed]) -> list[dict[str, Any]]:
    """Speeds as plain values that JSON can write."""
    return [asdict(speed) for speed in speeds]
