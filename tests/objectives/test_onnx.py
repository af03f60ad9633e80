"""Export of any family and compression to ONNX, for inputs of any length."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.compression.prune import prune
from objectives.data.batches import forward_arguments
from objectives.export import onnx as onnx_model
from objectives.export.onnx import OnnxError, OnnxModel, export_onnx
from objectives.models.build import build
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.workload import Family
from tests.conftest import WORKLOADS, architecture_for, batch_for

CASES = {
    Family.MODERNBERT_CLASSIFIER: Compression(Quantisation.STATIC_8),
    Family.LLAMA: Compression(Quantisation.RTN_4, 32, Pruning.UNSTRUCTURED, 0.5),
    Family.MBART: Compression(Quantisation.BF16),
    Family.VIT: Compression(Quantisation.SMOOTH_8, 32, Pruning.STRUCTURED, 0.5),
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", CASES)
def test_a_compressed_model_gives_the_same_logits_in_onnx_runtime(
    family: Family, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    workload, compression = WORKLOADS[family], CASES[family]
    architecture = architecture_for(family, 1, 64)
    spec = ModelSpec(architecture, workload, compression)
    batches = [batch_for(workload, count=8, seed=seed) for seed in range(2)]
    model = build(architecture.shape, workload).eval()

    def loss(model: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        total: torch.Tensor = model(**forward_arguments(batch)).logits.square().sum()
        return total

    pruned = prune(model, spec, batches, loss)
    folder, path = tmp_path / "model", tmp_path / "model.onnx"
    write_compressed(pruned, spec, batches, folder)
    loaded = model_file.load(folder)
    exported = export_onnx(loaded, batches, path)
    assert exported.is_close
    assert exported.is_int8 == compression.quantisation.is_static
    assert exported.size_bytes == path.stat().st_size
    assert {shape[0] for shape in exported.inputs.values()} == {"batch"}

    onnx.checker.check_model(str(path), full_check=True)
    text = path.read_bytes()
    assert b"site-packages" not in text
    assert str(Path(onnx_model.__file__).parent).encode() not in text
    nodes = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    if exported.is_int8:
        # Each layer has its weight; layers that read the same input share its codes.
        assert nodes["DequantizeLinear"] > nodes["QuantizeLinear"] > 0
        assert exported.size_bytes < 0.7 * dense_bytes(model)
    else:
        assert nodes["DequantizeLinear"] == 0

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    other = forward_arguments(batch_for(workload, count=3, seed=7))
    if family is not Family.VIT:
        other = {name: tensor[:, :5] for name, tensor in other.items()}
    with torch.inference_mode():
        expected = loaded(**other).logits
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in other.items()})
    difference = float((torch.from_numpy(found) - expected).abs().max())
    assert difference <= (0.05 if exported.is_int8 else 1e-4) * float(expected.abs().max())


def dense_bytes(model: nn.Module) -> int:
    return sum(4 * parameter.numel() for parameter in model.parameters())


class Noisy(nn.Module):
    """A model whose logits ONNX Runtime cannot reproduce."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, pixel_values: torch.Tensor, *, use_cache: bool = False) -> Any:
        return SimpleNamespace(logits=self.head(pixel_values + torch.rand_like(pixel_values)))


def test_logits_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="that is more than rounding"):
        export_onnx(Noisy().eval(), [{"pixel_values": torch.rand(8, 8)}], tmp_path / "model.onnx")


def test_int8_may_round_a_few_inputs_the_other_way_but_not_all() -> None:
    exported = OnnxModel(1, 20, {}, 100, 0.02, 1e-5, 1.0, is_int8=True)
    assert exported.is_close
    assert not replace(exported, is_int8=False).is_close
    assert not replace(exported, mean_difference=0.01).is_close
    assert not replace(exported, largest_difference=0.1).is_close


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_model, "PACKAGES", ("onnx", "no_such_package"))
    message = "--onnx needs no_such_package: pip install no_such_package"
    with pytest.raises(OnnxError, match=message):
        export_onnx(nn.Linear(1, 1), [], tmp_path / "model.onnx")
