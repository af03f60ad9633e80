"""The compressed model on disk: ``model.safetensors`` and ``config.json``, without a pickle.

Loading needs neither neural-compressor nor anything of the search. Weight-only codes are unpacked
into a dense fp32 model when loaded: they save storage and transfer, not memory or time. Static int8
stays int8.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from objectives.compression.packing import bits_of, pack, pack_mask, unpack, unpack_mask
from objectives.compression.quantise.static_int8 import StaticInt8Linear
from objectives.compression.quantise.weights import (
    QuantisedWeight,
    StaticInt8Weight,
    StoredWeight,
    dequantise,
    on_cpu,
)
from objectives.device import CPU
from objectives.models.build import build
from objectives.store import heartbeat
from spaces.cost.architecture import Architecture, Shape
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.families import layout
from spaces.cost.workload import Family, Workload

MODEL_FORMAT = 2
WEIGHTS = "model.safetensors"
CONFIG = "config.json"

Parts = dict[str, torch.Tensor]
"""Stored tensors: those of one weight are named after it."""


class ModelFileError(Exception):
    """A folder that does not hold a compressed model, or a damaged one."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """An architecture before pruning, for a workload, and its compression."""

    architecture: Architecture
    workload: Workload
    compression: Compression

    @property
    def shape(self) -> Shape:
        """The layers after pruning."""
        return self.compression.shape_of(self.architecture)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return asdict(self) | {"architecture": self.architecture.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of ``to_dict``.

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


@dataclass(frozen=True)
class CompressedWeights:
    """A model's weights after compression, by ``state_dict`` key.

    Args:
        stored: Floating point, or quantised.
        kept: Mask of the weights that unstructured pruning left, ``(rows, columns)``; only these
            are stored.
    """

    stored: dict[str, StoredWeight]
    kept: dict[str, torch.Tensor]


def save(folder: Path, weights: CompressedWeights, spec: ModelSpec) -> None:
    """Write a compressed model into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, weights)
    config = {"format": MODEL_FORMAT, **spec.to_dict()}
    (folder / CONFIG).write_text(json.dumps(config, indent=1))


def write_weights(file: Path, weights: CompressedWeights) -> None:
    """Write the weights of a model, as ``spaces.cost.size.weights_bytes`` predicts them."""
    tensors: Parts = {}
    for name, weight in weights.stored.items():
        heartbeat.beat()
        kept = weights.kept.get(name)
        tensors |= _parts(name, on_cpu(weight), None if kept is None else kept.cpu())
    with heartbeat.transferring(sum(tensor.nbytes for tensor in tensors.values())):
        save_file(tensors, str(file))


def load(folder: Path, device: torch.device = CPU) -> nn.Module:
    """Load a compressed model, ready to run on a device, in evaluation mode.

    Raises:
        ModelFileError: A file is missing, damaged, or of another model.
    """
    spec = read_spec(folder)
    stored = read_weights(folder, spec)
    try:
        model = build(spec.shape, spec.workload)
        _fill(model, stored, device)
    except RuntimeError as error:
        raise ModelFileError(f"{folder / WEIGHTS} cannot be loaded: {error}") from error
    return model.to(device).eval()


def read_weights(folder: Path, spec: ModelSpec) -> dict[str, StoredWeight]:
    """Read the weights of a compressed model by ``state_dict`` key, quantised ones as codes.

    Pruned weights are zeros; a matrix whose zero has no code is dense where some are pruned.

    Raises:
        ModelFileError: The file is missing, damaged, or of another model.
    """
    try:
        with heartbeat.transferring((folder / WEIGHTS).stat().st_size):
            tensors = load_file(str(folder / WEIGHTS))
        described = layout(spec.shape, spec.workload)
        # Before memory is allocated for them. A mask, the least that is stored, has a bit for each.
        bits = 8 * (folder / WEIGHTS).stat().st_size
        if described.parameters > bits:
            raise ValueError(
                f"{CONFIG} describes {described.parameters:,} weights; the file has {bits:,} bits"
            )
        return {
            weight.name: _stored(tensors, weight.name, torch.Size(weight.shape), spec.compression)
            for weight in described.weights()
        }
    except (SafetensorError, OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(f"{folder / WEIGHTS} cannot be loaded: {error}") from error


def read_spec(folder: Path) -> ModelSpec:
    """Read the description of a compressed model.

    Raises:
        ModelFileError: It is missing, damaged, or of another format.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
        found = config.pop("format", None)
        if found != MODEL_FORMAT:
            raise ValueError(f"it has format {found}, not {MODEL_FORMAT}")
        return ModelSpec.from_dict(config)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{folder / CONFIG} cannot be read: {error}") from error


def bytes_on_disk(folder: Path) -> int:
    """Bytes of the files that the model needs, tokenizer apart."""
    return sum((folder / name).stat().st_size for name in (WEIGHTS, CONFIG))


def _parts(name: str, weight: StoredWeight, kept: torch.Tensor | None) -> Parts:
    """The tensors that store a weight."""
    parts: Parts = {}
    if kept is not None:
        # The mask is that of pruning, not that of codes which happen to be zero, so that the size
        # is known before training.
        parts[f"{name}.mask"] = torch.from_numpy(pack_mask(kept.flatten().numpy()))
    if isinstance(weight, torch.Tensor):
        if kept is None:
            return {name: weight.contiguous()}
        return {**parts, f"{name}.values": weight[kept]}
    if isinstance(weight, StaticInt8Weight):
        parts[f"{name}.input"] = torch.tensor(
            [weight.input_scale, float(weight.input_zero_point)], dtype=torch.float32
        )
        if weight.smoothing is not None:
            parts[f"{name}.smoothing"] = weight.smoothing.contiguous()
        weight = weight.weight
    parts[f"{name}.scales"] = weight.scales.contiguous()
    if weight.zeros is not None:
        parts[f"{name}.zeros"] = weight.zeros.contiguous()
    codes = weight.codes.flatten() if kept is None else weight.codes[kept]
    parts[f"{name}.codes"] = torch.from_numpy(pack(codes.numpy(), weight.bits))
    return parts


def _fill(model: nn.Module, stored: dict[str, StoredWeight], device: torch.device) -> None:
    state: Parts = {}
    statics: dict[str, StaticInt8Weight] = {}
    for name, weight in stored.items():
        if isinstance(weight, torch.Tensor):
            state[name] = weight.float()
        elif isinstance(weight, StaticInt8Weight):
            state[name] = dequantise(weight.weight)
            statics[name.removesuffix(".weight")] = weight
        else:
            state[name] = dequantise(weight)
    # A tied matrix is stored once; the module ties it again.
    _, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    for name, static in statics.items():
        layer = StaticInt8Linear(static, state.get(f"{name}.bias"), device)
        model.set_submodule(name, layer)


def _stored(tensors: Parts, name: str, shape: torch.Size, compression: Compression) -> StoredWeight:
    """A weight of its parts."""
    if name in tensors:
        return tensors[name]
    if f"{name}.values" in tensors:
        values = tensors[f"{name}.values"]
        dense = torch.zeros(shape, dtype=values.dtype)
        dense[_mask(tensors, name, shape)] = values
        return dense
    heartbeat.beat()
    quantised = _quantised(tensors, name, shape, compression)
    if quantised.zeros is not None and f"{name}.mask" in tensors:
        # Where zero has no code of its own, pruned weights would not be zero.
        return dequantise(quantised) * _mask(tensors, name, shape)
    if f"{name}.input" in tensors:
        scale, zero_point = tensors[f"{name}.input"].tolist()
        return StaticInt8Weight(quantised, scale, int(zero_point), tensors.get(f"{name}.smoothing"))
    return quantised


def _quantised(
    tensors: Parts, name: str, shape: torch.Size, compression: Compression
) -> QuantisedWeight:
    scales = tensors[f"{name}.scales"]
    packed = tensors[f"{name}.codes"].numpy()
    masked = f"{name}.mask" in tensors
    kept = _mask(tensors, name, shape).numpy() if masked else np.ones(shape, dtype=np.bool_)
    count, quantisation = int(kept.sum()), compression.quantisation
    bits = bits_of(packed, count) if quantisation.is_mixed else int(quantisation.bits)
    codes = np.zeros(shape, dtype=np.int8)
    codes[kept] = unpack(packed, count, bits)
    is_per_row = scales.shape[1] == 1
    group_size = shape[1] if is_per_row else min(compression.group_size, shape[1])
    return QuantisedWeight(
        torch.from_numpy(codes), scales, bits, group_size, tensors.get(f"{name}.zeros")
    )


def _mask(tensors: Parts, name: str, shape: torch.Size) -> torch.Tensor:
    return torch.from_numpy(unpack_mask(tensors[f"{name}.mask"].numpy(), prod(shape))).view(shape)
