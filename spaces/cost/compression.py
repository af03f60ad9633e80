"""Compression of a trained model: quantisation, pruning, and the training that follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from spaces.cost.architecture import Architecture, Shape


class RuntimeName(StrEnum):
    """What runs a compressed model: eager ``torch`` the packed file, ``onnxruntime`` its
    ``model.onnx``, ``openvino`` its ``model.xml`` and ``model.bin``."""

    TORCH = "torch"
    ONNX_RUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Quantisation(StrEnum):
    """Quantisation of linear layers and embeddings, by bits.

    ``bf16`` and ``fp16`` store half-precision floats. ``static-8`` quantises weights and
    activations and computes in int8; ``smooth-8`` moves outliers of activations into the weights
    before (SmoothQuant). ``rtn-N`` is weight-only round-to-nearest at N bits. ``gptq-N`` lets the
    weights of a linear layer compensate for each other's errors; ``hqq-N`` gives each group a zero
    beside its scale, which with groups of 32 is half a bit more a weight. ``mixed-N`` gives each
    matrix 2 to 8 bits by its effect on the predictions, N in the mean, with the codes of GPTQ.
    Weight-only codes are smaller in storage and unpacked when loaded.
    """

    NONE = "none"
    BF16 = "bf16"
    FP16 = "fp16"
    STATIC_8 = "static-8"
    SMOOTH_8 = "smooth-8"
    RTN_8 = "rtn-8"
    RTN_6 = "rtn-6"
    MIXED_5 = "mixed-5"
    RTN_4 = "rtn-4"
    GPTQ_4 = "gptq-4"
    HQQ_4 = "hqq-4"
    MIXED_4 = "mixed-4"
    MIXED_3_5 = "mixed-3.5"
    RTN_3 = "rtn-3"
    GPTQ_3 = "gptq-3"
    HQQ_3 = "hqq-3"
    MIXED_3 = "mixed-3"
    MIXED_2_5 = "mixed-2.5"
    RTN_2 = "rtn-2"
    GPTQ_2 = "gptq-2"
    HQQ_2 = "hqq-2"

    @property
    def bits(self) -> float:
        """Bits of one stored weight; with ``mixed``, their mean, which need not be whole."""
        if self is Quantisation.NONE:
            return 32
        if self.is_half:
            return 16
        bits = float(self.value.rpartition("-")[2])
        return int(bits) if bits.is_integer() else bits

    @property
    def method(self) -> str:
        """Its name without the bits: ``none``, ``bf16``, ``rtn``, ``static``, ..."""
        return self.value.partition("-")[0]

    @property
    def is_half(self) -> bool:
        """Whether weights are stored as half-precision floats."""
        return self in (Quantisation.BF16, Quantisation.FP16)

    @property
    def is_static(self) -> bool:
        """Whether linear layers compute in int8."""
        return self.method in ("static", "smooth")

    @property
    def optimises_codes(self) -> bool:
        """Whether the method chooses codes that lose less than rounding to nearest."""
        return self.method in ("gptq", "hqq", "mixed")

    @property
    def is_mixed(self) -> bool:
        """Whether matrices have bits of their own, which are known when the model is trained."""
        return self.method == "mixed"

    @property
    def has_codes(self) -> bool:
        """Whether weights are stored as integers with scales."""
        return self is not Quantisation.NONE and not self.is_half


class Pruning(StrEnum):
    """Kind of pruning.

    ``structured`` removes attention heads and feed-forward neurons; ``heads``, ``neurons`` and
    ``layers`` remove one kind of parts: FLOPs and latency fall. ``unstructured`` zeroes single
    weights by global magnitude and ``2:4`` two of every four neighbours: dense kernels multiply by
    the zeros, so only storage is saved.
    """

    STRUCTURED = "structured"
    HEADS = "heads"
    NEURONS = "neurons"
    LAYERS = "layers"
    UNSTRUCTURED = "unstructured"
    SEMI_STRUCTURED = "2:4"

    @property
    def is_masking(self) -> bool:
        """Whether it zeroes single weights and removes no parts."""
        return self in (Pruning.UNSTRUCTURED, Pruning.SEMI_STRUCTURED)


SEMI_STRUCTURED_SPARSITY = 0.5


@dataclass(frozen=True, slots=True)
class Compression:
    """One way to compress: prune to ``sparsity``, train a little to recover, then quantise.

    Args:
        group_size: Weights along the input dimension that share one scale (weight-only and
            embeddings).
        sparsity: Fraction of heads, neurons, layers or weights to remove: 0 to below 1.
        recovery: Training after pruning, in the unit of the budget: pruned weights stay zero, and
            the forward pass rounds weights as quantisation will.

    Raises:
        ValueError: ``sparsity``, ``group_size`` or ``recovery`` is out of range.
    """

    quantisation: Quantisation = Quantisation.NONE
    group_size: int = 32
    pruning: Pruning = Pruning.STRUCTURED
    sparsity: float = 0.0
    recovery: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"sparsity is {self.sparsity}; it must be at least 0 and below 1")
        if self.group_size < 2:
            raise ValueError(f"group size is {self.group_size}; it must be at least 2")
        if self.recovery < 0.0:
            raise ValueError(f"recovery is {self.recovery}; it must be at least 0")

    @property
    def structured_sparsity(self) -> float:
        """Fraction of parts removed; 0 where pruning only zeroes weights."""
        return 0.0 if self.pruning.is_masking else self.sparsity

    @property
    def unstructured_sparsity(self) -> float:
        """Fraction of single weights zeroed; 0 where pruning removes parts."""
        return self.sparsity if self.pruning.is_masking else 0.0

    def shape_of(self, architecture: Architecture) -> Shape:
        """The layers that pruning leaves of an architecture."""
        return architecture.pruned(**self.removed)

    @property
    def removed(self) -> dict[str, float]:
        """Fractions of the parts that structured pruning removes: arguments of
        ``Architecture.pruned`` and ``Layout.pruned``."""
        kind = self.pruning
        both = kind is Pruning.STRUCTURED
        return {
            "heads": self.sparsity if both or kind is Pruning.HEADS else 0.0,
            "feed_forward": self.sparsity if both or kind is Pruning.NEURONS else 0.0,
            "layers": self.sparsity if kind is Pruning.LAYERS else 0.0,
        }

    def effective(self, architecture: Architecture) -> Compression:
        """The same for ``architecture``, with fields that have no effect set to their defaults.

        A fraction of few heads or layers may round to none. The kind has no effect without pruning,
        the group size none without codes, and recovery none without either; that for mixed bits, in
        whose training no weights are rounded, none without pruning. GPTQ
        rounds to nearest after recovery: training was with rounded weights, and to compensate for
        their errors would restore the outputs of the weights before rounding.
        """
        effective = self
        if self.recovery and self.quantisation.method == "gptq":
            nearest = Quantisation(f"rtn-{self.quantisation.bits}")
            effective = replace(effective, quantisation=nearest)
        if not self.unstructured_sparsity and self.shape_of(architecture) == architecture.shape:
            effective = replace(effective, sparsity=0.0, pruning=Pruning.STRUCTURED)
            if not self.quantisation.has_codes or self.quantisation.is_mixed:
                effective = replace(effective, recovery=0.0)
        if not self.quantisation.has_codes:
            effective = replace(effective, group_size=Compression().group_size)
        return effective

    def at_runtime(self, runtime: RuntimeName) -> Compression:
        """The part of it that latency in a runtime depends on.

        Torch unpacks weight-only codes when a model is loaded, ONNX Runtime all but those of 3 and
        4 bits; OpenVINO multiplies with codes. Dense kernels multiply by zeros.
        """
        is_masking = self.pruning.is_masking
        quantisation = self._running(runtime)
        has_groups = quantisation.has_codes and not quantisation.is_static
        return Compression(
            quantisation=quantisation,
            group_size=self.group_size if has_groups else Compression().group_size,
            pruning=Pruning.STRUCTURED if is_masking else self.pruning,
            sparsity=self.structured_sparsity,
        )

    def _running(self, runtime: RuntimeName) -> Quantisation:
        """A quantisation whose models run as those of this one."""
        own = self.quantisation
        if own.is_static:
            return own
        is_dense = own.method == "hqq" and self.unstructured_sparsity > 0.0
        if runtime is RuntimeName.TORCH or not own.has_codes or is_dense:
            return Quantisation.NONE
        if runtime is RuntimeName.OPENVINO:
            width = next(each for each in (2, 4, 8) if each >= own.bits)
            return Quantisation(f"{'hqq' if own.method == 'hqq' else 'rtn'}-{width}")
        if own.bits not in (3, 4):
            return Quantisation.RTN_8
        return Quantisation.HQQ_4 if own.method == "hqq" else Quantisation.RTN_4

    def __str__(self) -> str:
        parts = [str(self.quantisation)]
        if self.sparsity:
            parts.append(f"{self.pruning} {self.sparsity:.0%}")
        if self.recovery:
            parts.append(f"recovery {self.recovery:.3g}")
        return " ".join(parts)
