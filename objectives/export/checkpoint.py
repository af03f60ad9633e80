"""A compressed model as a checkpoint that ``from_pretrained`` of transformers loads, with no code.

Depth and feed-forward width stand in its configuration. Where that has no field for fewer attention
heads of the same width, removed heads are there with weights of zero. Codes are written as
compressed-tensors packs them, with fp32 scales: with fp16 ones it multiplies in fp16. HQQ has zeros
between its codes, for which there is no format: its weights are dense. SmoothQuant divides inputs
before it quantises them, which transformers cannot, and nor can it generate with static int8 in an
encoder-decoder.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import torch
import transformers
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.quantise.weights import (
    QuantisedWeight,
    StaticInt8Weight,
    StoredWeight,
    dequantise,
)
from objectives.data.batches import Batch
from objectives.export.comparison import Comparison, compare, inputs_of
from objectives.export.prediction_task import PredictionTask
from objectives.predictor.runtimes import Transformers
from spaces.cost.compression import Quantisation
from spaces.cost.families import has_decoder, layout
from spaces.errors import UserError

Parts = dict[str, torch.Tensor]

ZERO_CODE = 128
"""Unsigned input code that compressed-tensors calls 0."""


class CheckpointError(UserError):
    """transformers computes other logits from a checkpoint than the model has."""


@dataclass(frozen=True)
class Checkpoint:
    """How the weights of a checkpoint are written.

    Args:
        weights: The format of linear layers, such as ``4-bit codes in groups of 32``.
        is_quantised: Whether its configuration has a ``quantization_config``.
        padded_heads: Attention heads of each layer whose weights are zero.
        size_bytes: Of ``model.safetensors`` and ``config.json``.
        comparison: The differences between its logits and the original's.
        model_class: The class of the model, ``module:Class``.
    """

    weights: str
    is_quantised: bool
    padded_heads: int
    size_bytes: int
    comparison: Comparison
    model_class: str


def can_be_checkpoint(stored: Path) -> bool:
    """Whether transformers can compute what the stored model in a folder computes."""
    spec = model_file.read_spec(stored)
    quantisation = spec.compression.quantisation
    # ``generate`` calls the encoder alone, whose int8 codes compressed-tensors has not unpacked.
    return not (quantisation.is_static and has_decoder(spec.workload)) and (
        quantisation.method != "smooth"
    )


def write_checkpoint(
    stored: Path, model: Any, task: PredictionTask, folder: Path, batches: list[Batch]
) -> Checkpoint:
    """Write a stored model as ``config.json`` and ``model.safetensors``, and load them again.

    Args:
        stored: Its folder in the store.
        model: The same as ``model_file.load`` returns it.
        folder: Where to write.
        batches: Inputs with which the logits are compared.

    Raises:
        CheckpointError: Logits differ by more than rounding.
    """
    spec = model_file.read_spec(stored)
    is_int8 = spec.compression.quantisation.is_static
    has_head_width = getattr(model.config, "head_dim", None) is not None
    config = _config(model.config, spec, task)
    with torch.device("meta"):
        target = type(model)(config)
    shapes = {name: tensor.shape for name, tensor in target.state_dict().items()}
    weights = {
        name: _writable(weight, is_int8)
        for name, weight in model_file.read_weights(stored, spec).items()
    }
    group_size = _common_group_size(weights, shapes)
    bits = max((each.bits for each in _codes(weights)), default=0)
    tensors = _tensors(weights, shapes, _fused(spec), group_size, bits)
    if is_int8 or group_size:
        config.quantization_config = _scheme(target, tensors, bits=bits, group_size=group_size)
    is_own = bool(spec.workload.own)
    if target.can_generate() and not is_own:
        target.generation_config = _generation(task)
    transformers.logging.disable_progress_bar()
    target.save_pretrained(folder, state_dict=tensors)
    # safetensors writes files that only their owner can read.
    shutil.copymode(folder / model_file.CONFIG, folder / model_file.WEIGHTS)
    runtime = Transformers(folder, asdict(task), type(model) if is_own else None)
    comparison = compare(model, runtime.logits, inputs_of(batches), is_int8=is_int8)
    if not comparison.is_close:
        raise CheckpointError(
            f"--to: the logits of transformers and of the model {comparison}; that is more than "
            "rounding"
        )
    return Checkpoint(
        weights=_format(spec.compression.quantisation, bits, group_size),
        is_quantised=is_int8 or group_size > 0,
        padded_heads=0
        if has_head_width
        else getattr(config, "num_attention_heads", spec.architecture.heads) - spec.shape.heads,
        size_bytes=model_file.bytes_on_disk(folder),
        comparison=comparison,
        model_class=_class_path(type(model)),
    )


def _class_path(model_class: type) -> str:
    module = model_class.__module__
    is_public = module.startswith("transformers.") and hasattr(transformers, model_class.__name__)
    return f"{'transformers' if is_public else module}:{model_class.__name__}"


def _format(quantisation: Quantisation, bits: int, group_size: int) -> str:
    if quantisation.is_half:
        return quantisation.value
    if quantisation.is_static:
        return "int8"
    if quantisation.method == "hqq" or not quantisation.has_codes:
        return "fp32"
    return f"{bits}-bit codes in groups of {group_size}"


def _config(config: Any, spec: ModelSpec, task: PredictionTask) -> Any:
    """The configuration of the pruned model, with its labels."""
    made = copy.deepcopy(config)
    if task.labels:
        made.id2label = dict(enumerate(task.labels))
        made.label2id = {label: number for number, label in enumerate(task.labels)}
    if task.label_scale:
        made.problem_type = "regression"
        # transformers has no fields for them, and writes and reads them all the same.
        made.label_mean, made.label_deviation = task.label_scale
    if hasattr(made, "use_cache"):
        made.use_cache = True
    if getattr(made, "head_dim", None) is not None:
        readers = made.num_attention_heads // made.num_key_value_heads
        made.num_attention_heads = spec.shape.heads
        made.num_key_value_heads = spec.shape.heads // readers
    return made


def _generation(task: PredictionTask) -> Any:
    """How texts are decoded for a score."""
    tokens = task.tokens
    starts: dict[str, int] = {}
    if task.target_length:
        names = ("decoder_start_token_id", "forced_bos_token_id")
        starts = dict(zip(names, task.target_start, strict=False))
    return transformers.GenerationConfig(
        bos_token_id=tokens["start"],
        eos_token_id=tokens["end"],
        pad_token_id=tokens["pad"],
        max_length=task.target_length or task.sequence_length,
        num_beams=task.beams,
        do_sample=False,
        use_cache=True,
        **starts,
    )


def _fused(spec: ModelSpec) -> dict[str, int]:
    """How many matrices stand below each other in a weight or bias, where they are several."""
    return {
        f"{stack.prefix}.{index}.{name}.{kind}": attention.fused
        for stack in layout(spec.shape, spec.workload).stacks
        for index in range(stack.depth)
        for attention in stack.attentions
        for name in attention.inputs
        for kind in ("weight", "bias")
    }


def _writable(weight: StoredWeight, is_int8: bool) -> StoredWeight:
    """A weight as a checkpoint can have it: its own values, dense where there is no format."""
    if isinstance(weight, QuantisedWeight) and (is_int8 or weight.zeros is not None):
        return dequantise(weight)
    return weight


def _codes(weights: dict[str, StoredWeight]) -> Iterator[QuantisedWeight]:
    """The matrices that are written as codes."""
    for weight in weights.values():
        if isinstance(weight, StaticInt8Weight):
            yield weight.weight
        elif isinstance(weight, QuantisedWeight):
            yield weight


def _common_group_size(weights: dict[str, StoredWeight], shapes: dict[str, torch.Size]) -> int:
    """The largest group size that divides all packed matrices and their groups; 0 without any."""
    common = 0
    for name, weight in weights.items():
        if isinstance(weight, QuantisedWeight):
            common = gcd(common, weight.group_size, weight.codes.shape[1], shapes[name][1])
    return common


def _tensors(
    weights: dict[str, StoredWeight],
    shapes: dict[str, torch.Size],
    fused: dict[str, int],
    group_size: int,
    bits: int,
) -> Parts:
    """The tensors of all weights, in the shapes of the configuration's model.

    transformers unpacks all matrices with the same bits: those with fewer of their own take these.
    """
    tensors: Parts = {}
    for name, weight in weights.items():
        padded = _padded(weight, shapes[name], fused.get(name, 1), group_size)
        tensors |= _parts(name, padded, bits)
    return tensors


def _padded(weight: StoredWeight, shape: torch.Size, fused: int, group_size: int) -> StoredWeight:
    """A weight with zeros for the channels that pruning removed."""
    if isinstance(weight, torch.Tensor):
        return _extended(weight, shape, fused)
    if isinstance(weight, StaticInt8Weight):
        return replace(weight, weight=_extended_codes(weight.weight, shape, fused, shape[1]))
    return _extended_codes(weight, shape, fused, group_size)


def _extended_codes(
    weight: QuantisedWeight, shape: torch.Size, fused: int, group_size: int
) -> QuantisedWeight:
    columns = weight.codes.shape[1]
    scales = weight.scales.float()
    if scales.shape[1] > 1 or group_size < columns:
        scales = scales.repeat_interleave(weight.group_size // group_size, 1)
        scales = scales[:, : columns // group_size]
    groups = torch.Size((shape[0], shape[1] // group_size))
    return QuantisedWeight(
        _extended(weight.codes, shape, fused),
        _extended(scales, groups, fused, value=1.0),
        weight.bits,
        group_size,
    )


def _extended(
    tensor: torch.Tensor, shape: torch.Size, fused: int, *, value: float = 0.0
) -> torch.Tensor:
    """A tensor with a value to the right, and below each of the matrices that it consists of."""
    if tensor.shape == shape:
        return tensor
    parts = tensor.reshape(fused, -1, *tensor.shape[1:])
    wide = torch.full((fused, shape[0] // fused, *shape[1:]), value, dtype=tensor.dtype)
    wide[tuple(slice(length) for length in parts.shape)] = parts
    return wide.reshape(shape)


def _parts(name: str, weight: StoredWeight, bits: int) -> Parts:
    """The tensors of a weight under the names of compressed-tensors."""
    if isinstance(weight, torch.Tensor):
        return {name: weight.contiguous()}
    if isinstance(weight, StaticInt8Weight):
        module = name.removesuffix(".weight")
        zero_point = weight.input_zero_point - ZERO_CODE
        return {
            name: weight.weight.codes.contiguous(),
            f"{name}_scale": weight.weight.scales.contiguous(),
            f"{module}.input_scale": torch.tensor([weight.input_scale]),
            f"{module}.input_zero_point": torch.tensor([zero_point], dtype=torch.int8),
        }
    return {
        f"{name}_packed": pack_to_int32(weight.codes, bits),
        f"{name}_scale": weight.scales.contiguous(),
        f"{name}_shape": torch.tensor(weight.codes.shape),
    }


def _scheme(model: nn.Module, tensors: Parts, *, bits: int, group_size: int) -> dict[str, Any]:
    """The ``quantization_config`` that says how weights are written.

    Packed weights are unpacked when they are loaded: a matrix that is tied to a packed embedding
    would have no weights.
    """
    targets = (nn.Linear, nn.Embedding) if group_size else (nn.Linear,)
    ignored = [
        name
        for name, module in model.named_modules()
        if isinstance(module, targets) and f"{name}.weight_scale" not in tensors
    ]
    weights: dict[str, Any] = {"num_bits": bits, "type": "int", "symmetric": True}
    group: dict[str, Any] = {"targets": [target.__name__ for target in targets]}
    if group_size:
        group["weights"] = {**weights, "strategy": "group", "group_size": group_size}
    else:
        group["weights"] = {**weights, "strategy": "channel"}
        inputs = {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "tensor"}
        group["input_activations"] = {**inputs, "dynamic": False}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized" if group_size else "int-quantized",
        "quantization_status": "compressed",
        "dequantize": group_size > 0,
        "ignore": ignored,
        "config_groups": {"group_0": group},
    }
