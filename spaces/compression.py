"""How a trained model is made small: quantisation and pruning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Quantisation(StrEnum):
    """Quantisation of linear layers and embeddings, from the mildest to the heaviest.

    ``rtn-N`` is weight-only round-to-nearest at N bits: smaller in storage, unpacked when loaded.
    ``static-8`` quantises weights and activations, and computes in int8.
    """

    NONE = "none"
    STATIC_8 = "static-8"
    RTN_8 = "rtn-8"
    RTN_4 = "rtn-4"
    RTN_3 = "rtn-3"
    RTN_2 = "rtn-2"

    @property
    def bits(self) -> int:
        """Bits of one stored weight."""
        return 32 if self is Quantisation.NONE else int(self.value.rpartition("-")[2])

    @property
    def method(self) -> str:
        """Name of the method: ``none``, ``rtn`` or ``static``."""
        return self.value.partition("-")[0]


class Pruning(StrEnum):
    """What pruning removes.

    ``structured`` removes whole attention heads and feed-forward neurons: smaller matrices, fewer
    FLOPs, lower latency. ``unstructured`` zeroes single weights by global magnitude: it saves
    storage only, because dense kernels multiply by the zeros.
    """

    STRUCTURED = "structured"
    UNSTRUCTURED = "unstructured"


@dataclass(frozen=True, slots=True)
class Compression:
    """One way to compress: prune to ``sparsity``, then quantise.

    Args:
        quantisation: Method and bits.
        group_size: Weights along the input dimension that share one scale (weight-only and
            embeddings).
        pruning: What pruning removes.
        sparsity: Share of heads and neurons, or of weights, that is removed: 0 to below 1.

    Raises:
        ValueError: ``sparsity`` or ``group_size`` is out of range.
    """

    quantisation: Quantisation = Quantisation.NONE
    group_size: int = 32
    pruning: Pruning = Pruning.STRUCTURED
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"sparsity is {self.sparsity}; it must be at least 0 and below 1")
        if self.group_size < 2:
            raise ValueError(f"group size is {self.group_size}; it must be at least 2")

    @property
    def structured_sparsity(self) -> float:
        """Share of heads and neurons removed; 0 where pruning is unstructured."""
        return self.sparsity if self.pruning is Pruning.STRUCTURED else 0.0

    @property
    def unstructured_sparsity(self) -> float:
        """Share of single weights zeroed; 0 where pruning is structured."""
        return self.sparsity if self.pruning is Pruning.UNSTRUCTURED else 0.0

    @property
    def at_runtime(self) -> Compression:
        """What the running model still shows of it: latency depends on nothing else.

        Weight-only codes are unpacked when a model is loaded, and dense kernels multiply by zeros.
        """
        is_static = self.quantisation.method == "static"
        return Compression(
            quantisation=self.quantisation if is_static else Quantisation.NONE,
            sparsity=self.structured_sparsity,
        )

    def __str__(self) -> str:
        if self.sparsity == 0.0:
            return str(self.quantisation)
        return f"{self.quantisation} {self.pruning} {self.sparsity:.0%}"
