"""Export to ONNX: what is refused, and what only ONNX can hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.compression.prune import prune
from objectives.data.batches import forward_arguments, pixel_values
from objectives.data.pixels import normalisation, to_pixels
from objectives.export import onnx as onnx_model
from objectives.export.bundle import write_bundle
from objectives.export.comparison import Comparison
from objectives.export.onnx import OnnxError, export_onnx
from objectives.export.prediction_task import PredictionTask, image_processor_fields
from objectives.models.build import build
from objectives.predictor import ModelError, load
from objectives.testing.tiny_models import WORKLOADS, batch_for
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.workload import Family
from spaces.file.image_processor import ImageProcessor


def loss(model: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    total: torch.Tensor = model(**forward_arguments(batch)).logits.square().sum()
    return total


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_what_transformers_cannot_compute_is_exported_as_onnx_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    workload = WORKLOADS[Family.VIT]
    compression = Compression(Quantisation.SMOOTH_8, 32, Pruning.STRUCTURED, 0.5)
    spec = ModelSpec(Architecture.of(1, 64), workload, compression)
    batches = [batch_for(workload, count=8, seed=seed) for seed in range(2)]
    pruned = prune(build(spec.architecture.shape, workload), spec, batches, loss)
    write_compressed(pruned, spec, batches, tmp_path / "stored")
    folder = tmp_path / "exported"
    folder.mkdir()
    task = PredictionTask(
        "image-classification",
        "accuracy",
        ("a", "b", "c"),
        image_size=8,
        channels=3,
        image_processor=image_processor_fields(ImageProcessor(), size=8, channels=3),
    )
    made = write_bundle(
        folder, tmp_path / "stored", task, tmp_path / "none", batches, with_onnx=False
    )
    assert made.checkpoint is None
    assert made.onnx is not None
    assert made.onnx.comparison.is_int8
    assert not (folder / "model.safetensors").exists()
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    (prediction,) = load(folder).predict([Image.fromarray(image)])
    pixels = pixel_values(
        to_pixels([Image.fromarray(image)], channels=3, size=8), normalisation(ImageProcessor(), 3)
    )
    with torch.inference_mode():
        logits = model_file.load(tmp_path / "stored")(pixel_values=pixels).logits[0]
    assert prediction.text == task.labels[int(logits.argmax())]
    assert prediction.probability == pytest.approx(float(logits.softmax(-1).max()), abs=0.01)
    with pytest.raises(ModelError, match=r"transformers: .*model.safetensors is missing"):
        load(folder, "transformers")


class Noisy(nn.Module):
    """A model whose logits ONNX Runtime cannot reproduce."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, pixel_values: torch.Tensor) -> Any:
        states = pixel_values.mean((1, 2))
        return SimpleNamespace(logits=self.head(states + torch.rand_like(states)))


@pytest.mark.usefixtures("one_thread")
def test_logits_that_differ_are_refused(tmp_path: Path) -> None:
    workload = WORKLOADS[Family.VIT]
    spec = ModelSpec(Architecture.of(1, 64), workload, Compression())
    batches = [batch_for(workload, count=8)]
    write_compressed(build(spec.shape, workload).eval(), spec, batches, tmp_path)
    with pytest.raises(OnnxError, match="that is more than rounding"):
        export_onnx(tmp_path, Noisy().eval(), batches, tmp_path / "model.onnx", {})


def test_int8_may_round_a_few_inputs_the_other_way_but_not_all() -> None:
    comparison = Comparison(100, 0.02, 1e-5, 1.0, is_int8=True)
    assert comparison.is_close
    assert not replace(comparison, is_int8=False).is_close
    assert not replace(comparison, mean_difference=0.01).is_close
    assert not replace(comparison, largest_difference=0.1).is_close


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_model, "PACKAGES", ("onnx", "no_such_package"))
    message = "--onnx needs no_such_package: pip install no_such_package"
    with pytest.raises(OnnxError, match=message):
        export_onnx(tmp_path, nn.Linear(1, 1), [], tmp_path / "model.onnx", {})
