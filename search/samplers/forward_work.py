"""What a forward pass does, by arithmetic: the features by which its cost is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from search.arrays import Floats
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, RuntimeName
from spaces.cost.families import layout
from spaces.cost.flops import sequence_flops
from spaces.cost.onnx.size import runtime_bytes
from spaces.cost.workload import Workload

SIZES = (
    "layers", "width", "heads", "head width", "neurons", "linear FLOPs", "attention FLOPs",
    "attention scores", "channels", "activations", "FLOPs behind the layers", "parameters", "bytes",
)  # fmt: skip
"""Of a model after pruning. ``layers`` to ``neurons`` are those of a layer; the others are of one
sequence through the whole model."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the forward pass of one model does.

    Args:
        sizes: In the order of ``SIZES``.
        kind: What its kernels, and opening it, depend on besides: quantisation in the runtime, how
            weights are stored, activation and checkpoint.
    """

    sizes: tuple[float, ...]
    kind: str


@lru_cache(maxsize=2**17)
def work_of(
    architecture: Architecture, compression: Compression, workload: Workload, runtime: RuntimeName
) -> Work:
    """What the forward pass of a compressed model does in a runtime, on a sequence of full
    length."""
    shape, running = compression.shape_of(architecture), compression.at_runtime(runtime)
    laid_out = layout(shape, workload)
    read, written = workload.sequence_length, workload.target_length or workload.sequence_length
    lengths = (read, written)
    total = sequence_flops(laid_out, read, target=written)
    layers = attention = scores = channels = activations = linear = 0.0
    for stack, tokens in zip(laid_out.stacks, lengths, strict=False):
        # Behind the first, an attention reads the encoder.
        pairs = tokens * (tokens + (len(stack.attentions) - 1) * read)
        weights = sum(weight.count for weight in stack.weights if len(weight.shape) > 1)
        layers += stack.depth
        linear += 2.0 * stack.depth * tokens * weights
        attention += 4.0 * stack.depth * pairs * stack.heads * stack.head_width
        scores += stack.depth * pairs * stack.heads
        channels += stack.depth * tokens * laid_out.sizes["width"]
        activations += stack.depth * tokens * stack.neurons
    stack = laid_out.stacks[-1]
    sizes = (
        layers, laid_out.sizes["width"], stack.heads, stack.head_width, stack.neurons, linear,
        attention, scores, channels, activations, max(0.0, total - linear - attention),
        laid_out.parameters, runtime_bytes(architecture, workload, compression, runtime),
    )  # fmt: skip
    quantisation = compression.quantisation
    storage = "codes" if quantisation.has_codes else "half" if quantisation.is_half else "floats"
    kind = " ".join((running.quantisation, storage, shape.activation, architecture.checkpoint))
    return Work(tuple(map(float, sizes)), kind)


def sizes_of(works: Sequence[Work]) -> Floats:
    """The sizes of some models, ``(models, len(SIZES))``."""
    return np.array([work.sizes for work in works])
