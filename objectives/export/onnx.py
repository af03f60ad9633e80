"""A compressed model as ONNX, compared with the original in ONNX Runtime.

All weights are written in fp32, as ONNX has no codes of three bits. Static int8 is written as
QuantizeLinear and DequantizeLinear around each linear layer (QDQ), which runtimes fuse into int8
kernels. Its weights are unsigned, around 128: with signed ones, ONNX Runtime's sums saturate
silently on x86 CPUs without VNNI. Its kernel for unsigned weights is exact on all CPUs.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from objectives.compression.quantise.static_int8 import StaticInt8Linear
from objectives.data.batches import Batch
from objectives.export.comparison import Comparison, compare, inputs_of
from objectives.models.forward import PositionalLogits
from spaces.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")

LOGITS = "logits"

_DYNAMIC_AXES: dict[str, dict[int, str]] = {
    "input_ids": {0: "batch", 1: "sequence"},
    "attention_mask": {0: "batch", 1: "sequence"},
    "token_type_ids": {0: "batch", 1: "sequence"},
    "decoder_input_ids": {0: "batch", 1: "target_sequence"},
    "pixel_values": {0: "batch"},
    "input_features": {0: "batch"},
    "input_values": {0: "batch"},
}
"""Axes of any length."""

_ZERO = 128
"""Code of an unsigned weight of zero."""


class OnnxError(UserError):
    """A model cannot be written as ONNX."""


@dataclass(frozen=True)
class OnnxModel:
    """An exported ONNX model.

    Args:
        opset: Version of ONNX's operators.
        inputs: Names of its inputs with their shapes; an axis of any length has a name.
        comparison: The differences between its logits and the original's.
    """

    size_bytes: int
    opset: int
    inputs: dict[str, list[str | int]]
    comparison: Comparison


def check_packages() -> None:
    """Check that the packages which write and run ONNX are installed.

    Raises:
        OnnxError: Naming those that are missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise OnnxError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(missing)}")


def export_onnx(
    model: nn.Module, batches: list[Batch], path: Path, metadata: Mapping[str, str]
) -> OnnxModel:
    """Write a model as ONNX and compare its logits in ONNX Runtime.

    Args:
        model: As ``model_file.load`` returns it; it stays unchanged.
        batches: Inputs of the model, two or more in each batch, to trace and to compare with.
        path: The file to write.
        metadata: Properties of the file, which ONNX Runtime shows as its custom metadata.

    Raises:
        OnnxError: A package is missing, or logits differ by more than rounding.
    """
    check_packages()
    inputs = inputs_of(batches)
    names = tuple(inputs[0])
    with _without_warnings():
        program = torch.onnx.export(
            PositionalLogits(_with_qdq(model), names).eval(),
            tuple(inputs[0].values()),
            dynamo=True,
            dynamic_shapes=(tuple(_DYNAMIC_AXES[name] for name in names),),
            input_names=list(names),
            output_names=[LOGITS],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        # Stack traces with paths of this machine, larger than small models.
        node.metadata_props.clear()
    program.model.metadata_props.update(metadata)
    program.save(str(path))
    exported = _verified(model, inputs, path)
    if not exported.comparison.is_close:
        raise OnnxError(
            f"--onnx: the logits of ONNX Runtime and of the model {exported.comparison}; that is "
            "more than rounding"
        )
    return exported


class _QdqLinear(nn.Module):
    """A static int8 linear layer in ONNX's own operators."""

    def __init__(self, layer: StaticInt8Linear) -> None:
        super().__init__()
        static = layer.static
        self.codes = (static.weight.codes.int() + _ZERO).to(torch.uint8)
        self.scales = static.weight.scales[:, 0].float().contiguous()
        self.zeros = torch.full((len(self.codes),), _ZERO, dtype=torch.uint8)
        self.scale = torch.tensor(static.input_scale)
        self.zero = torch.tensor(static.input_zero_point, dtype=torch.uint8)
        self.smoothing = static.smoothing
        self.bias = layer.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.smoothing is not None:
            inputs = inputs / self.smoothing
        codes = torch.onnx.ops.symbolic(
            "QuantizeLinear", (inputs, self.scale, self.zero),
            dtype=torch.uint8, shape=inputs.shape,
        )  # fmt: skip
        rounded = torch.onnx.ops.symbolic(
            "DequantizeLinear", (codes, self.scale, self.zero),
            dtype=torch.float32, shape=inputs.shape,
        )  # fmt: skip
        weight = torch.onnx.ops.symbolic(
            "DequantizeLinear", (self.codes, self.scales, self.zeros), {"axis": 0},
            dtype=torch.float32, shape=self.codes.shape,
        )  # fmt: skip
        return nn.functional.linear(rounded, weight, self.bias)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide what the exporter says about packages that are not needed here."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(before)


def _int8_layers(model: nn.Module) -> list[StaticInt8Linear]:
    return [module for module in model.modules() if isinstance(module, StaticInt8Linear)]


def _with_qdq(model: nn.Module) -> nn.Module:
    """The model with its int8 layers in ONNX's operators."""
    # deepcopy takes the replacements from its memo: packed weights of kernels cannot be copied.
    replaced: dict[int, Any] = {id(layer): _QdqLinear(layer) for layer in _int8_layers(model)}
    return copy.deepcopy(model, replaced) if replaced else model


def _verified(model: nn.Module, inputs: list[Batch], path: Path) -> OnnxModel:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return OnnxModel(
        size_bytes=sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")),
        opset=onnx.load(str(path), load_external_data=False).opset_import[0].version,
        inputs={each.name: list(each.shape) for each in session.get_inputs()},
        comparison=compare(
            model,
            lambda arrays: session.run([LOGITS], arrays)[0],
            inputs,
            is_int8=bool(_int8_layers(model)),
        ),
    )
