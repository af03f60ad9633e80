"""A compressed model as ONNX, compared with the original in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import nn

from objectives.compression import model_file
from objectives.data.batches import Batch
from objectives.export.comparison import Comparison, compare, inputs_of
from objectives.runtimes.names import ONNX_PACKAGES
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.onnx.blocks import WIDTHS
from spaces.errors import UserError

PACKAGES = ONNX_PACKAGES


class OnnxError(UserError):
    """A model cannot be written as ONNX."""


@dataclass(frozen=True)
class OnnxModel:
    """An exported ONNX model.

    Args:
        weights: How those of linear layers are stored, and whether they run so.
        opset: Version of ONNX's operators.
        inputs: Names of its inputs with their shapes; an axis of any length has a name.
        comparison: The differences between its logits and the original's.
    """

    weights: str
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
    stored: Path, model: nn.Module, batches: list[Batch], path: Path, metadata: Mapping[str, str]
) -> OnnxModel:
    """Write a stored model as ONNX with its codes, and compare its logits in ONNX Runtime.

    Args:
        stored: The folder of the model in the store.
        model: The same as ``model_file.load`` returns it.
        batches: Inputs of the model, two or more in each batch, to trace and to compare with.
        path: The file to write.
        metadata: Properties of the file, which ONNX Runtime shows as its custom metadata.

    Raises:
        OnnxError: A package is missing, or logits differ by more than rounding.
    """
    check_packages()
    from objectives.runtimes import onnx_file
    from objectives.runtimes.onnx_graph import graph_of_shape

    inputs = inputs_of(batches)
    spec = model_file.read_spec(stored)
    graph = graph_of_shape(spec.shape, spec.workload, inputs[0])
    weights = model_file.read_weights(stored, spec)
    onnx_file.write(onnx_file.with_weights(graph, weights), path, metadata)
    exported = _verified(model, inputs, path, spec.compression)
    if not exported.comparison.is_close:
        raise OnnxError(
            f"--onnx: the logits of ONNX Runtime and of the model {exported.comparison}; that is "
            "more than rounding"
        )
    return exported


def _verified(
    model: nn.Module, inputs: list[Batch], path: Path, compression: Compression
) -> OnnxModel:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    written = onnx.load(str(path), load_external_data=False)
    return OnnxModel(
        weights=_weights(compression, {node.op_type for node in written.graph.node}),
        size_bytes=sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")),
        opset=next(each.version for each in written.opset_import if not each.domain),
        inputs={each.name: list(each.shape) for each in session.get_inputs()},
        comparison=compare(
            model,
            lambda arrays: session.run(None, arrays)[0],
            inputs,
            is_int8=compression.quantisation.is_static,
        ),
    )


def _weights(compression: Compression, operators: set[str]) -> str:
    """How linear layers are stored in a file with these operators."""
    quantisation = compression.quantisation
    if quantisation.is_static:
        return "int8, which runs as such (QDQ)"
    if "MatMulNBits" in operators:
        return "4-bit codes, which run as such (MatMulNBits)"
    is_masked_hqq = quantisation.method == "hqq" and compression.unstructured_sparsity > 0.0
    if quantisation is Quantisation.NONE or is_masked_hqq:
        return "fp32"
    bits = next(width for width in WIDTHS if width >= min(quantisation.bits, 8))
    stored = quantisation.value if quantisation.is_half else f"{bits}-bit codes"
    return f"{stored}, which are converted to fp32 when the model is loaded"
