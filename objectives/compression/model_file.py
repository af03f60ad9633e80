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

from objectives.compression.packing import pack, pack_mask, unpack, unpack_mask
from objectives.compression.quantise.rtn import QuantisedWeight, dequantise
from objectives.compression.quantise.static_int8 import StaticInt8Linear, StaticWeight
from objectives.models.build import build
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.families import layout
from spaces.cost.workload import Family, Workload

MODEL_FORMAT = 2
WEIGHTS = "model.safetensors"
CONFIG = "config.json"

Parts = dict[str, torch.Tensor]


class ModelFileError(Exception):
    """A folder that does not hold a compressed model, or a damaged one."""


@dataclass(frozen=True)
class CompressedWeights:
    """A model's weights after compression, by ``state_dict`` key.

    Args:
        dense: What stays floating point; masked where single weights were pruned.
        quantised: Codes and scales.
        static: Linear layers in static int8.
        kept: Which weights pruning left, ``(rows, columns)``; only these are stored, with a mask.
    """

    dense: dict[str, torch.Tensor]
    quantised: dict[str, QuantisedWeight]
    static: dict[str, StaticWeight]
    kept: dict[str, torch.Tensor]


def save(
    folder: Path,
    weights: CompressedWeights,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
) -> None:
    """Write a compressed model into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: Parts = {}
    for name, tensor in weights.dense.items():
        tensors |= _dense_parts(name, tensor, weights.kept.get(name))
    for name, quantised in weights.quantised.items():
        tensors |= _quantised_parts(name, quantised, weights.kept.get(name))
    for name, static in weights.static.items():
        tensors |= _quantised_parts(name, static.weight, weights.kept.get(name))
        tensors[f"{name}.input"] = torch.tensor(
            [static.input_scale, float(static.input_zero_point)], dtype=torch.float32
        )
        if static.smoothing is not None:
            tensors[f"{name}.smoothing"] = static.smoothing.contiguous()
    save_file(tensors, str(folder / WEIGHTS))
    config = {
        "format": MODEL_FORMAT,
        "architecture": asdict(architecture),
        "workload": asdict(workload),
        "compression": asdict(compression),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1))


def load(folder: Path) -> nn.Module:
    """Load a compressed model, ready to run, in evaluation mode.

    Raises:
        ModelFileError: A file is missing, damaged, or of another model.
    """
    config = read_config(folder)
    try:
        compression = _compression(config["compression"])
        workload = Workload(
            **{**config["workload"], "family": Family(config["workload"]["family"])}
        )
        shape = compression.shape_of(Architecture(**config["architecture"]))
        tensors = load_file(str(folder / WEIGHTS))
        described = layout(shape, workload)
        _check_room(described.parameters, folder)
        model = build(shape, workload)
        names = [weight.name for weight in described.weights()]
        _fill(model, names, tensors, compression)
    except (SafetensorError, OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(f"{folder / WEIGHTS} cannot be loaded: {error}") from error
    return model.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """The JSON that describes a compressed model.

    Raises:
        ModelFileError: It is missing, damaged, or of a newer format.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{folder / CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelFileError(f"{folder / CONFIG} does not describe a model")
    if config.get("format") != MODEL_FORMAT:
        raise ModelFileError(
            f"{folder / CONFIG} has format {config.get('format')}, not {MODEL_FORMAT}"
        )
    return config


def bytes_on_disk(folder: Path) -> int:
    """Bytes of the files that the model needs, tokenizer apart."""
    return sum((folder / name).stat().st_size for name in (WEIGHTS, CONFIG))


def _check_room(weights: int, folder: Path) -> None:
    """Refuse a description of a model that its file cannot hold, before memory is taken for it.

    Raises:
        ValueError: Not even a mask, a bit for each weight, has room.
    """
    room = 8 * (folder / WEIGHTS).stat().st_size
    if weights > room:
        raise ValueError(f"{CONFIG} describes {weights:,} weights; the file has {room:,} bits")


def _fill(model: nn.Module, names: list[str], tensors: Parts, compression: Compression) -> None:
    whole = model.state_dict()
    state: Parts = {}
    statics: dict[str, StaticWeight] = {}
    for name in names:
        shape = whole[name].shape
        if name in tensors:
            state[name] = tensors[name].float()
        elif f"{name}.values" in tensors:
            state[name] = _unmasked(tensors, name, tensors[f"{name}.values"].float(), shape)
        else:
            quantised = _quantised(tensors, name, shape, compression)
            state[name] = dequantise(quantised)
            if f"{name}.mask" in tensors:
                # Where zero has no code of its own, what was pruned would come back.
                state[name] *= _mask(tensors, name, shape)
            if f"{name}.input" in tensors:
                statics[name.removesuffix(".weight")] = _static(tensors, name, quantised)
    # A tied matrix is stored once; the module ties it again.
    _, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    for name, static in statics.items():
        parent, _, child = name.rpartition(".")
        bias = state.get(f"{name}.bias")
        setattr(model.get_submodule(parent), child, StaticInt8Linear(static, bias))


def _static(tensors: Parts, name: str, quantised: QuantisedWeight) -> StaticWeight:
    scale, zero_point = tensors[f"{name}.input"].tolist()
    return StaticWeight(
        quantised, scale, int(zero_point), smoothing=tensors.get(f"{name}.smoothing")
    )


def _dense_parts(name: str, tensor: torch.Tensor, kept: torch.Tensor | None) -> Parts:
    if kept is None:
        return {name: tensor.contiguous()}
    return {f"{name}.values": tensor[kept], **_mask_part(name, kept)}


def _quantised_parts(name: str, weight: QuantisedWeight, kept: torch.Tensor | None) -> Parts:
    codes = weight.codes
    parts: Parts = {f"{name}.scales": weight.scales.contiguous()}
    if weight.zeros is not None:
        parts[f"{name}.zeros"] = weight.zeros.contiguous()
    if kept is not None:
        # The mask is that of pruning, and not of the codes that happen to be zero: the bytes are
        # then known before training.
        parts |= _mask_part(name, kept)
        codes = codes[kept]
    parts[f"{name}.codes"] = torch.from_numpy(pack(codes.flatten().numpy(), weight.bits))
    return parts


def _mask_part(name: str, kept: torch.Tensor) -> Parts:
    return {f"{name}.mask": torch.from_numpy(pack_mask(kept.flatten().numpy()))}


def _quantised(
    tensors: Parts, name: str, shape: torch.Size, compression: Compression
) -> QuantisedWeight:
    bits = compression.quantisation.bits
    scales = tensors[f"{name}.scales"]
    packed = tensors[f"{name}.codes"].numpy()
    if f"{name}.mask" in tensors:
        kept = unpack_mask(tensors[f"{name}.mask"].numpy(), prod(shape))
        flat = np.zeros(prod(shape), dtype=np.int8)
        flat[kept] = unpack(packed, int(kept.sum()), bits)
    else:
        flat = unpack(packed, prod(shape), bits)
    is_per_row = scales.shape[1] == 1
    group_size = shape[1] if is_per_row else min(compression.group_size, shape[1])
    codes = torch.from_numpy(flat).view(shape)
    return QuantisedWeight(codes, scales, bits, group_size, tensors.get(f"{name}.zeros"))


def _mask(tensors: Parts, name: str, shape: torch.Size) -> torch.Tensor:
    return torch.from_numpy(unpack_mask(tensors[f"{name}.mask"].numpy(), prod(shape))).view(shape)


def _unmasked(tensors: Parts, name: str, values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    weight = torch.zeros(shape)
    weight[_mask(tensors, name, shape)] = values
    return weight


def _compression(values: dict[str, Any]) -> Compression:
    return Compression(
        **{
            **values,
            "quantisation": Quantisation(values["quantisation"]),
            "pruning": Pruning(values["pruning"]),
        }
    )
