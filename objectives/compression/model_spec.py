"""The value that determines the layers and the stored weights of a compressed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.shape import Shape
from spaces.cost.workload import Family, Workload


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """An architecture for a workload, and its compression.

    Args:
        architecture: Shape before pruning.
        workload: Inputs and outputs.
        compression: Pruning and quantisation.
    """

    architecture: Architecture
    workload: Workload
    compression: Compression

    @property
    def shape(self) -> Shape:
        """The layers after pruning."""
        return self.compression.shape_of(self.architecture)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of ``dataclasses.asdict``.

        Raises:
            KeyError, TypeError, ValueError: A field is missing, unknown or not valid.
        """
        workload, compression = dict(values["workload"]), dict(values["compression"])
        workload["family"] = Family(workload["family"])
        compression["quantisation"] = Quantisation(compression["quantisation"])
        compression["pruning"] = Pruning(compression["pruning"])
        return cls(
            Architecture(**values["architecture"]), Workload(**workload), Compression(**compression)
        )
