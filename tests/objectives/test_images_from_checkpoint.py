"""Image classifiers that start from a Vision Transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.resolve import with_checkpoint
from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from spaces.cost.checkpoint import Checkpoint
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.flops import forward_flops
from spaces.file.search_file import SearchFile
from spaces.loading import from_document
from tests.checkpoints import DEPTH, WIDTH, save_images_checkpoint


def search_from(folder: Path, **data: Any) -> SearchFile:
    search = from_document(
        {
            "name": "pretrained-images",
            "task": {"name": "image-classification", "classes": 10},
            "data": {"images": {"source": "digits"}, **data},
            "model": {"from": str(folder)},
            "space": {"depth": DEPTH, "width": WIDTH, "budget": {"choices": [40.0]}},
            "training": {"batch_size": 16, "learning_rate": 2e-3},
            "storage": {"store": str(folder / "store")},
            "trials": 2,
        }
    )
    return with_checkpoint(search)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_images_checkpoint(tmp_path / "tiny")


def checkpoint_of(search: SearchFile) -> Checkpoint:
    assert search.model is not None
    assert search.model.checkpoint is not None
    return search.model.checkpoint


def test_a_classifier_is_cut_down_trained_and_measured(folder: Path, tmp_path: Path) -> None:
    search = search_from(folder)
    assert (search.data.image_size, search.data.patch_size, search.data.channels) == (8, 2, 1)
    objective = Objective(search, prepare_for(search, tmp_path / "data"))
    compression = Compression(Quantisation.RTN_8, 32, Pruning.STRUCTURED, 0.5)
    architecture = checkpoint_of(search).architecture(2, 16)
    found = objective.evaluate(Configuration(architecture, 40.0, compression))
    assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)
    shape = compression.shape_of(architecture)
    assert found.flops == pytest.approx(forward_flops(shape, search.workload), rel=0.01)


def test_the_whole_checkpoint_gives_the_outputs_of_the_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    search = search_from(folder)
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    architecture = checkpoint_of(search).architecture(DEPTH, WIDTH)
    start: Any = task.build(architecture.shape).eval()
    initialise = task.initialise_from(architecture)
    assert initialise is not None
    assert task.start is not None
    initialise(start)
    whole: Any = task.start.opened.load(10)
    pixels = task.batch(0)["pixel_values"]
    with torch.inference_mode():
        found, expected = (model.base_model(pixels).last_hidden_state for model in (start, whole))
    assert torch.allclose(found, expected, atol=1e-5)


def test_images_of_another_size_are_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it reads data\.image_size 8, not 32"):
        search_from(folder, image_size=32)


def test_other_pixels_are_refused(tmp_path: Path) -> None:
    folder = save_images_checkpoint(tmp_path / "tiny", mean=0.485)
    with pytest.raises(
        CheckpointError, match=r"normalises by \[0\.485, 0\.5\]; allowed are a mean"
    ):
        search_from(folder)


def test_without_an_image_processor_it_is_refused(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="it has no image processor"):
        search_from(folder)
