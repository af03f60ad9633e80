"""A configuration, and the hash that identifies it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation

Settings = tuple[tuple[str, float], ...]
"""Values of fields of ``training``, each with its name, such as ``fine_tuning.dropout``."""
AFTER_STABLE_PATH = ("decay_fraction", "fine_tuning.")
"""What fields of ``training`` start with that act only after the stable path."""


def content_hash(value: Any) -> str:
    """SHA-256, in hex, of a value's canonical JSON.

    Args:
        value: A dataclass, or anything that JSON can write. Key order does not matter, and a
            number hashes the same as ``2`` and as ``2.0``.

    Raises:
        ValueError: The value holds NaN or infinity.
        TypeError: The value cannot be written as JSON.
    """
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(
        _whole_floats_as_integers(plain),
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def differing_keys(one: Any, other: Any, path: str = "") -> list[str]:
    """Paths of the keys in which plain values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            difference
            for key in sorted({*one, *other})
            for difference in differing_keys(
                one.get(key), other.get(key), f"{path}.{key}" if path else key
            )
        ]
    return [] if json.dumps(one) == json.dumps(other) else [path]


def _whole_floats_as_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _whole_floats_as_integers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole_floats_as_integers(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@dataclass(frozen=True, slots=True)
class Configuration:
    """One point of a search space.

    Args:
        budget: Training, in the unit of the search's schedule.
        seed: Seed of initial weights, data order and masking.
        training: Values of the fields of ``training`` that are searched, by name in alphabetical
            order; all others are those of the search.
    """

    architecture: Architecture
    budget: float
    compression: Compression
    seed: int = 0
    training: Settings = ()

    @property
    def checkpoint(self) -> str:
        """Which of the several checkpoints of a search it starts from; empty otherwise."""
        return self.architecture.checkpoint

    @property
    def stable_path(self) -> tuple[Architecture, Settings]:
        """What configurations of one seed have in common that train on one stable path."""
        on_path = (each for each in self.training if not each[0].startswith(AFTER_STABLE_PATH))
        return self.architecture, tuple(on_path)

    def value_of(self, name: str) -> Any:
        """Value of a dimension, or of what follows from some, such as ``bits`` or ``head_width``.

        Raises:
            AttributeError: There is none of this name.
        """
        settings = {"budget": self.budget, **dict(self.training)}
        if name in settings:
            return settings[name]
        if name == "bits":
            return self.compression.quantisation.bits
        part = self.compression if hasattr(self.compression, name) else self.architecture
        return getattr(part, name)

    def of_checkpoint(self, name: str) -> Configuration:
        """The same from one of several checkpoints; an empty name stands for none."""
        return replace(self, architecture=self.architecture.of_checkpoint(name))

    def canonical(self) -> Configuration:
        """The same with fields that have no effect on its model set to their defaults."""
        return self.with_compression(self.compression.effective(self.architecture))

    @property
    def hash(self) -> str:
        """Identifies this configuration; equal for configurations that give the same model."""
        return content_hash(self.canonical().to_dict())

    def shares_training(self, other: Configuration) -> bool:
        """Whether both are compressions of one trained model."""
        return self.with_compression(other.compression) == other

    def with_compression(self, compression: Compression) -> Configuration:
        """The same training, compressed in another way."""
        return replace(self, compression=compression)

    def with_seed(self, seed: int) -> Configuration:
        """The same with another seed of training."""
        return replace(self, seed=seed)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write; without ``training`` where none of it is searched."""
        values = asdict(self) | {"architecture": self.architecture.to_dict()}
        training = dict(values.pop("training"))
        return values | ({"training": training} if training else {})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Configuration:
        """Inverse of ``to_dict``."""
        compression = dict(values["compression"])
        compression["quantisation"] = Quantisation(compression["quantisation"])
        compression["pruning"] = Pruning(compression["pruning"])
        return cls(
            architecture=Architecture.from_dict(values["architecture"]),
            budget=float(values["budget"]),
            compression=Compression(**compression),
            seed=int(values["seed"]),
            training=tuple(sorted(values.get("training", {}).items())),
        )

    def __str__(self) -> str:
        settings = "".join(f"{name} {value:g} " for name, value in self.training)
        return f"{self.architecture} budget {self.budget:.3g} {settings}{self.compression}"
