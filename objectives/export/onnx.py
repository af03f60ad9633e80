"""A compressed model as ONNX: exported by torch, and compared with ONNX Runtime's answers.

Weights are fp32, whatever they are stored in: ONNX has no codes of three bits. Static int8 is
written as QuantizeLinear and DequantizeLinear around each linear layer (QDQ), which runtimes fuse
into int8 kernels. Its weights are unsigned, around 128: with signed ones, ONNX Runtime's sums
saturate on x86 CPUs without VNNI, without a word. Its kernel for unsigned ones is exact on all.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from objectives.compression.quantise.int8_linear import StaticInt8Linear
from objectives.data.batches import Batch, forward_arguments
from objectives.models.positional import PositionalLogits
from spaces.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")

LOGITS = "logits"
MOST_COMPARED = 8
"""Inputs of a batch that are traced and compared: language models give many logits for each."""

_AXES: dict[str, dict[int, str]] = {
    "input_ids": {0: "batch", 1: "sequence"},
    "attention_mask": {0: "batch", 1: "sequence"},
    "decoder_input_ids": {0: "batch", 1: "target_sequence"},
    "pixel_values": {0: "batch"},
}
"""Axes of any length."""

TOLERANCE = 1e-4
"""Largest difference between two logits, as a share of the largest logit. Two kernels that sum fp32
in another order differ by a millionth; a wrong mask or position by a tenth and more."""

INT8_TOLERANCE = 0.05
"""The same in int8. An input that lies between two of 255 codes may round either way, which every
later layer carries on: up to 0.013 was measured on trained models."""

INT8_MEAN_TOLERANCE = 1e-3
"""Mean difference in int8, as a share of the largest logit: few inputs lie between two codes. A
kernel whose sums saturate moves all answers."""

_ZERO = 128
"""Code of an unsigned weight of zero."""


class OnnxError(UserError):
    """A model that cannot be had as ONNX."""


@dataclass(frozen=True)
class OnnxModel:
    """An exported ONNX model and how far its answers are from the original's.

    Args:
        size_bytes: Bytes of the file.
        opset: Version of ONNX's operators.
        inputs: Names of its inputs with their shapes; an axis of any length has a name.
        compared: Logits that were compared.
        largest_difference: Between a logit of ONNX Runtime and the original's.
        mean_difference: The mean of these differences, without their signs.
        largest_logit: Of the original, without its sign.
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
        """Whether the differences are those of rounding."""
        if self.is_int8:
            return (
                self.largest_difference <= INT8_TOLERANCE * self.largest_logit
                and self.mean_difference <= INT8_MEAN_TOLERANCE * self.largest_logit
            )
        return self.largest_difference <= TOLERANCE * self.largest_logit


def check_packages() -> None:
    """Refuse to start without the packages that writing and checking ONNX takes.

    Raises:
        OnnxError: Naming those that are missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise OnnxError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(missing)}")


def export_onnx(model: nn.Module, batches: list[Batch], path: Path) -> OnnxModel:
    """Write a model as ONNX and compare it with ONNX Runtime's answers.

    Args:
        model: As ``model_file.load`` gives it; it is left as it is.
        batches: Real inputs of the model, of two or more each, to trace and to compare with.
        path: The file to write.

    Raises:
        OnnxError: A package is missing, or the answers differ by more than rounding.
    """
    check_packages()
    inputs = [
        {name: tensor[:MOST_COMPARED] for name, tensor in forward_arguments(batch).items()}
        for batch in batches
    ]
    names = tuple(inputs[0])
    exportable, is_int8 = _with_qdq(model)
    with _quiet():
        program = torch.onnx.export(
            PositionalLogits(exportable, names).eval(),
            tuple(inputs[0].values()),
            dynamo=True,
            dynamic_shapes=(tuple(_AXES[name] for name in names),),
            input_names=list(names),
            output_names=[LOGITS],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        # Traces of the code with paths of this machine, larger than small models.
        node.metadata_props.clear()
    program.save(str(path))
    made = _compared(model, inputs, path, is_int8=is_int8)
    if not made.is_close:
        raise OnnxError(
            f"--onnx: the answers of ONNX Runtime differ by {made.largest_difference:.3g} "
            f"({made.mean_difference:.3g} on average) from the model's, whose largest logit is "
            f"{made.largest_logit:.3g}; that is more than rounding"
        )
    return made


class _QdqLinear(nn.Module):
    """A static int8 linear layer in ONNX's own operators."""

    codes: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor

    def __init__(self, layer: StaticInt8Linear) -> None:
        super().__init__()
        static = layer.static
        rows = len(static.weight.codes)
        self.register_buffer("codes", (static.weight.codes.int() + _ZERO).to(torch.uint8))
        self.register_buffer("scales", static.weight.scales[:, 0].float().contiguous())
        self.register_buffer("zeros", torch.full((rows,), _ZERO, dtype=torch.uint8))
        self.register_buffer("scale", torch.tensor(static.input_scale))
        self.register_buffer("zero", torch.tensor(static.input_zero_point, dtype=torch.uint8))
        self._smoothing = static.smoothing
        self._bias = layer.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._smoothing is not None:
            inputs = inputs / self._smoothing
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
        return nn.functional.linear(rounded, weight, self._bias)


def _with_qdq(model: nn.Module) -> tuple[nn.Module, bool]:
    """The model with its int8 layers in ONNX's operators, and whether it has any."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, StaticInt8Linear)}
    if not layers:
        return model, False
    # The packed weights of the kernels cannot be copied, and need not be.
    replaced = {id(layer): _QdqLinear(layer) for layer in layers.values()}
    return copy.deepcopy(model, dict(replaced)), True


def _compared(model: nn.Module, inputs: list[Batch], path: Path, *, is_int8: bool) -> OnnxModel:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    differences: list[npt.NDArray[np.float32]] = []
    largest = 0.0
    for arguments in (*inputs, _other_shape(inputs[0])):
        with torch.inference_mode():
            expected = PositionalLogits(model, arguments)(*arguments.values()).numpy()
        (found,) = session.run(
            [LOGITS], {name: tensor.numpy() for name, tensor in arguments.items()}
        )
        differences.append(np.abs(found - expected).ravel())
        largest = max(largest, float(np.abs(expected).max()))
    together = np.concatenate(differences)
    return OnnxModel(
        size_bytes=sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")),
        opset=onnx.load(str(path), load_external_data=False).opset_import[0].version,
        inputs={each.name: list(each.shape) for each in session.get_inputs()},
        compared=len(together),
        largest_difference=float(together.max()),
        mean_difference=float(together.mean()),
        largest_logit=largest,
        is_int8=is_int8,
    )


def _other_shape(arguments: Batch) -> Batch:
    """One input alone, and of half the length where it has one: what was not traced."""
    return {
        name: tensor[:1] if name == "pixel_values" else tensor[:1, : tensor.shape[1] // 2]
        for name, tensor in arguments.items()
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that nobody needs here."""
    logger: Any = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
