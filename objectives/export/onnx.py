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
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from objectives.compression.quantise.static_int8 import StaticInt8Linear
from objectives.data.batches import Batch, forward_arguments
from objectives.models.forward import PositionalLogits
from spaces.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")

LOGITS = "logits"
MAX_INPUTS = 8
"""Inputs of a batch that are traced and compared; language models give many logits for each."""

_DYNAMIC_AXES: dict[str, dict[int, str]] = {
    "input_ids": {0: "batch", 1: "sequence"},
    "attention_mask": {0: "batch", 1: "sequence"},
    "decoder_input_ids": {0: "batch", 1: "target_sequence"},
    "pixel_values": {0: "batch"},
}
"""Axes of any length."""

TOLERANCE = 1e-4
"""Largest allowed difference between two logits, as a fraction of the largest logit. Kernels that
sum fp32 in another order differ by a millionth; a wrong mask or position by a tenth and more."""

INT8_TOLERANCE = 0.05
"""The same for int8. An input between two of 255 codes may round either way, which all later layers
carry on: up to 0.013 was measured on trained models."""

INT8_MEAN_TOLERANCE = 1e-3
"""Mean difference for int8, as a fraction of the largest logit. Few inputs lie between two codes,
but a kernel whose sums saturate changes all logits."""

_ZERO = 128
"""Code of an unsigned weight of zero."""


class OnnxError(UserError):
    """A model cannot be written as ONNX."""


@dataclass(frozen=True)
class OnnxModel:
    """An exported ONNX model and the differences between its logits and the original's.

    Args:
        opset: Version of ONNX's operators.
        inputs: Names of its inputs with their shapes; an axis of any length has a name.
        compared: Number of logits that were compared.
        largest_difference: Largest absolute difference of a logit.
        mean_difference: Mean absolute difference.
        largest_logit: Largest absolute logit of the original.
        is_int8: Whether linear layers are int8.
    """

    size_bytes: int
    opset: int
    inputs: dict[str, list[str | int]]
    compared: int
    largest_difference: float
    mean_difference: float
    largest_logit: float
    is_int8: bool

    @property
    def is_close(self) -> bool:
        """Whether the differences are within the tolerances of rounding."""
        largest, mean = (
            (INT8_TOLERANCE, INT8_MEAN_TOLERANCE) if self.is_int8 else (TOLERANCE, TOLERANCE)
        )
        return (
            self.largest_difference <= largest * self.largest_logit
            and self.mean_difference <= mean * self.largest_logit
        )


def check_packages() -> None:
    """Check that the packages which write and run ONNX are installed.

    Raises:
        OnnxError: Naming those that are missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise OnnxError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(missing)}")


def export_onnx(model: nn.Module, batches: list[Batch], path: Path) -> OnnxModel:
    """Write a model as ONNX and compare its logits in ONNX Runtime.

    Args:
        model: As ``model_file.load`` returns it; it stays unchanged.
        batches: Inputs of the model, two or more in each batch, to trace and to compare with.
        path: The file to write.

    Raises:
        OnnxError: A package is missing, or logits differ by more than rounding.
    """
    check_packages()
    inputs = [
        {name: tensor[:MAX_INPUTS] for name, tensor in forward_arguments(batch).items()}
        for batch in batches
    ]
    names = tuple(inputs[0])
    # The exporter warns about packages that are not needed here.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
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
    program.save(str(path))
    exported = _compare(model, inputs, path)
    if not exported.is_close:
        raise OnnxError(
            f"--onnx: the logits of ONNX Runtime differ by {exported.largest_difference:.3g} "
            f"({exported.mean_difference:.3g} on average) from the model's, whose largest logit is "
            f"{exported.largest_logit:.3g}; that is more than rounding"
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


def _int8_layers(model: nn.Module) -> list[StaticInt8Linear]:
    return [module for module in model.modules() if isinstance(module, StaticInt8Linear)]


def _with_qdq(model: nn.Module) -> nn.Module:
    """The model with its int8 layers in ONNX's operators."""
    # deepcopy takes the replacements from its memo: packed weights of kernels cannot be copied.
    replaced: dict[int, Any] = {id(layer): _QdqLinear(layer) for layer in _int8_layers(model)}
    return copy.deepcopy(model, replaced) if replaced else model


def _compare(model: nn.Module, inputs: list[Batch], path: Path) -> OnnxModel:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    differences = []
    largest_logit = 0.0
    # One input alone, of half the length where it has one: a shape that was not traced.
    other_shape = {
        name: tensor[:1] if name == "pixel_values" else tensor[:1, : tensor.shape[1] // 2]
        for name, tensor in inputs[0].items()
    }
    for arguments in (*inputs, other_shape):
        with torch.inference_mode():
            expected = PositionalLogits(model, arguments)(*arguments.values()).numpy()
        (found,) = session.run(
            [LOGITS], {name: tensor.numpy() for name, tensor in arguments.items()}
        )
        differences.append(np.abs(found - expected).ravel())
        largest_logit = max(largest_logit, float(np.abs(expected).max()))
    together = np.concatenate(differences)
    return OnnxModel(
        size_bytes=sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")),
        opset=onnx.load(str(path), load_external_data=False).opset_import[0].version,
        inputs={each.name: list(each.shape) for each in session.get_inputs()},
        compared=len(together),
        largest_difference=float(together.max()),
        mean_difference=float(together.mean()),
        largest_logit=largest_logit,
        is_int8=bool(_int8_layers(model)),
    )
