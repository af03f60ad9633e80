"""Bytes on disk of a compressed model, by arithmetic.

What is stored: ``bits`` per quantised weight, a scale per group (fp16) or per row (fp32, static
int8), a mask bit per weight where single weights were pruned, fp32 for what stays dense, the header
of the safetensors file (its layout: huggingface.co/docs/safetensors) and the JSON beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

from spaces.architecture import Architecture
from spaces.compression import Compression, Quantisation
from spaces.shapes import Role, Weight, Workload, ends_weights, layer_weights

CONFIG_BYTES = 340
"""The JSON that describes the model; its length varies by a few digits."""

_HEADER_ENTRY = len('"":{"dtype":"","shape":[],"data_offsets":[,]},')
_TYPE_BYTES = {"F32": 4, "F16": 2, "U8": 1}

Stored = tuple[str, str, tuple[int, ...]]
"""Name, type and shape of one stored tensor."""


def size_bytes(architecture: Architecture, workload: Workload, compression: Compression) -> int:
    """Predicted bytes on disk of ``architecture`` after ``compression``, tokenizer apart."""
    sparsity = compression.structured_sparsity
    ends = _sizes(_stored(ends_weights(architecture, workload), compression))
    layer = _sizes(_stored(layer_weights(architecture, sparsity=sparsity), compression))
    data = ends[0] + architecture.depth * layer[0]
    entries = ends[1] + architecture.depth * layer[1]
    names = ends[2] + architecture.depth * layer[2]
    # Two offsets stand in every entry; most have as many digits as the last.
    header = names + entries * (_HEADER_ENTRY + 2 * (len(str(data)) - 1))
    return 8 + header + data + CONFIG_BYTES


def dense_size_bytes(architecture: Architecture, workload: Workload) -> int:
    """Predicted bytes on disk without any compression, fp32."""
    return size_bytes(architecture, workload, Compression())


def _sizes(stored: Iterable[Stored]) -> tuple[int, int, int]:
    """Bytes of data, number of entries, and characters of names, types and shapes."""
    data, entries, characters = 0, 0, 0
    for name, kind, shape in stored:
        data += _TYPE_BYTES[kind] * prod(shape)
        entries += 1
        characters += len(name) + len(kind) + len(",".join(map(str, shape)))
    return data, entries, characters


def _stored(weights: Iterable[Weight], compression: Compression) -> Iterator[Stored]:
    for weight in weights:
        masked = weight.role is Role.LINEAR and compression.unstructured_sparsity > 0.0
        kept = weight.count
        if masked:
            yield f"{weight.name}.mask", "U8", (_ceil(weight.count, 8),)
            # Pruning is global: a single weight may lose more or less, all together this much.
            kept = round(weight.count * (1.0 - compression.unstructured_sparsity))
        if weight.role is Role.DENSE or compression.quantisation is Quantisation.NONE:
            yield (f"{weight.name}.values", "F32", (kept,)) if masked else (
                weight.name, "F32", weight.shape,
            )  # fmt: skip
            continue
        rows, columns = weight.shape
        is_static = compression.quantisation.method == "static" and weight.role is Role.LINEAR
        bits = compression.quantisation.bits if not is_static else 8
        yield f"{weight.name}.codes", "U8", (_ceil(kept * bits, 8),)
        if is_static:
            yield f"{weight.name}.scales", "F32", (rows, 1)
            yield f"{weight.name}.input", "F32", (2,)
        else:
            groups = _ceil(columns, min(compression.group_size, columns))
            yield f"{weight.name}.scales", "F16", (rows, groups)


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
