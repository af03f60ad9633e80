"""Bytes on disk of a compressed model, by arithmetic.

A model stores ``bits`` per quantised weight, a scale per group (fp16) or per row (fp32, static
int8), a zero per group (fp16, HQQ), a factor per input (fp32, SmoothQuant), a mask bit per weight
where single weights were pruned, half-precision floats, fp32 for the rest, the header of the
safetensors file (its layout: huggingface.co/docs/safetensors) and the JSON beside it. Of mixed bits
the mean is predicted, which the codes do not exceed: they may take somewhat less.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from math import inf, prod

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.families import layout, parameters
from spaces.cost.layout import Layout, Role, Weight
from spaces.cost.workload import Workload

CONFIG_BYTES = 480
"""The JSON that describes the model; its length varies by a few digits."""

_HEADER_ENTRY = len('"":{"dtype":"","shape":[],"data_offsets":[,]},')
_TYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1}
_HALF = {Quantisation.BF16: "BF16", Quantisation.FP16: "F16"}

Stored = tuple[str, str, tuple[int, ...]]
"""Name, type and shape of one stored tensor."""


def size_bytes(architecture: Architecture, workload: Workload, compression: Compression) -> int:
    """Predicted bytes on disk of ``architecture`` after ``compression``, without the tokenizer."""
    pruned = layout(compression.shape_of(architecture), workload)
    # The description of a checkpoint or of a user's own models is a part of the JSON.
    described = len(json.dumps(workload.checkpoint)) + len(json.dumps(workload.own)) - 4
    return weights_bytes(pruned, compression) + CONFIG_BYTES + described


def weights_bytes(pruned: Layout, compression: Compression) -> int:
    """Predicted bytes of the safetensors file of a compressed model.

    Args:
        pruned: Layout of what structured pruning leaves, such as
            ``whole.pruned(**compression.removed)``.
        compression: How its weights are masked and quantised.
    """
    parts = [(1, _sizes(pruned.ends, compression))]
    for stack in pruned.stacks:
        # Only the first layer may differ from the others.
        for index, layers in ((0, 1), (1, stack.depth - 1)):
            data, entries, characters = _sizes(stack.weights_of(index), compression)
            prefixes = entries * len(f"{stack.prefix}.{index}.")
            parts.append((layers, (data, entries, characters + prefixes)))
    data, entries, names = (sum(n * part[k] for n, part in parts) for k in range(3))
    # Every entry has two offsets, most of them with as many digits as the last.
    return 8 + names + entries * (_HEADER_ENTRY + 2 * (len(str(data)) - 1)) + data


def max_compressed_bytes(
    architecture: Architecture, workload: Workload, compression: Compression
) -> float:
    """Bytes that a compressed model must stay below: those of its dense fp32 weights.

    Names and shapes do not count, which a compressor may write shorter without any compression.
    Infinite where nothing is compressed.
    """
    is_dense = compression.effective(architecture) == Compression()
    return inf if is_dense else 4 * parameters(architecture, workload)


def _sizes(weights: Iterable[Weight], compression: Compression) -> tuple[int, int, int]:
    """Bytes of data, number of entries, and characters of names, types and shapes."""
    data, entries, characters = 0, 0, 0
    for weight in weights:
        for name, kind, shape in _stored(weight, compression):
            data += _TYPE_BYTES[kind] * prod(shape)
            entries += 1
            characters += len(name) + len(kind) + len(",".join(map(str, shape)))
    return data, entries, characters


def _stored(weight: Weight, compression: Compression) -> Iterator[Stored]:
    quantisation = compression.quantisation
    kept = weight.count
    masked = weight.role is Role.LINEAR and compression.unstructured_sparsity > 0.0
    if masked:
        yield f"{weight.name}.mask", "U8", (_ceil(weight.count, 8),)
        # Pruning is global: a single matrix may lose more or less than this fraction.
        kept = round(weight.count * (1.0 - compression.unstructured_sparsity))
    if weight.role is Role.DENSE or not quantisation.has_codes:
        kind = "F32" if weight.role is Role.DENSE else _HALF.get(quantisation, "F32")
        yield (f"{weight.name}.values", kind, (kept,)) if masked else (
            weight.name, kind, weight.shape,
        )  # fmt: skip
        return
    yield f"{weight.name}.codes", "U8", (_ceil(kept * quantisation.bits, 8),)
    rows, columns = weight.shape
    if quantisation.is_static and weight.role is Role.LINEAR:
        yield f"{weight.name}.scales", "F32", (rows, 1)
        yield f"{weight.name}.input", "F32", (2,)
        if quantisation is Quantisation.SMOOTH_8:
            yield f"{weight.name}.smoothing", "F32", (columns,)
        return
    groups = _ceil(columns, min(compression.group_size, columns))
    yield f"{weight.name}.scales", "F16", (rows, groups)
    if quantisation.method == "hqq" and weight.role is Role.LINEAR:
        yield f"{weight.name}.zeros", "F16", (rows, groups)


def _ceil(dividend: float, divisor: int) -> int:
    return int(-(-dividend // divisor))
