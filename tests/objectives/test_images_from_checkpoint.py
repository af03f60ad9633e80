"""Image classifiers that start from a Vision Transformer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from objectives.models.checkpoint.errors import CheckpointError
from objectives.objective import Objective
from objectives.predictor import load
from objectives.tasks import make_task, prepare_for
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from tests.checkpoint_searches import checkpoint_of, export, search_from
from tests.checkpoints import WIDTH, save_images_checkpoint

PROCESSORS: dict[str, dict[str, Any]] = {
    "ImageNet": {
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    "CLIP": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 11},
        "crop_size": {"height": 8, "width": 8},
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
    "no means": {"do_normalize": False, "rescale_factor": 1 / 128},
}
"""Fields of image processors that do other things than by default."""
SIMPLER = ("ImageNet", "no means")
"""Those that neither crop nor resize by the shortest edge."""


def images_from(folder: Path, **data: Any) -> SearchFile:
    document = {
        "task": {"name": "image-classification", "classes": 10},
        "data": {"images": {"source": "digits"}},
    }
    return search_from(folder, folder / "store", document, data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_images_checkpoint(tmp_path / "tiny")


def test_images_of_another_size_are_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it reads data\.image_size 8, not 32"):
        images_from(folder, image_size=32)
    data = images_from(folder).data
    assert (data.image_size, data.patch_size, data.channels) == (8, 2, 1)


@pytest.mark.parametrize(
    "processor", ["CLIP", *(pytest.param(name, marks=pytest.mark.slow) for name in SIMPLER)]
)
def test_an_exported_model_reads_images_as_its_checkpoint_and_as_in_training(
    processor: str, tmp_path: Path
) -> None:
    folder = save_images_checkpoint(tmp_path / "tiny", 3, **PROCESSORS[processor])
    search = images_from(folder)
    data = prepare_for(search, tmp_path / "data")
    objective = Objective(search, data)
    architecture = checkpoint_of(search).architecture(1, WIDTH)
    result = objective.evaluate(Configuration(architecture, 40.0, Compression()))
    exported = tmp_path / "exported"
    exported.mkdir()
    _, model = export(search, data, objective, result, exported, with_onnx=False)
    examples = (exported / "evaluation.jsonl").read_text().splitlines()
    predictor = load(exported, "transformers")
    assert predictor.score(list(map(json.loads, examples))) == result.score

    noise = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    own, written = (
        AutoImageProcessor.from_pretrained(each)(picture, return_tensors="pt")["pixel_values"]
        for each in (folder, exported)
    )
    assert torch.allclose(own, written, atol=1e-6)
    with torch.inference_mode():
        expected = model(pixel_values=own).logits.softmax(-1).max()
    (prediction,) = predictor.predict([picture])
    assert prediction.probability == pytest.approx(float(expected), abs=1e-5)


def test_images_are_normalised_as_the_checkpoint_does(tmp_path: Path) -> None:
    folder = save_images_checkpoint(tmp_path / "tiny", 3, **PROCESSORS["ImageNet"])
    search = images_from(folder)
    assert search.data.image_processor.mean == [0.485, 0.456, 0.406]
    data = prepare_for(search, tmp_path / "data")
    inputs = make_task(search, data).batch(0)["pixel_values"]
    # Black is an exact zero before normalisation.
    assert inputs.amin((0, 2, 3)).tolist() == pytest.approx(
        [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    )
    other = save_images_checkpoint(tmp_path / "other", 3)
    assert prepare_for(images_from(other), tmp_path / "data").fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"size": {"height": 16, "width": 16}}, r"size is .*16.* without do_center_crop; allowed"),
        ({"size": {"shortest_edge": 8}}, r"size is .*shortest_edge.* without do_center_crop"),
        ({"size": {"height": 8, "width": 9}}, r"allowed are an equal height and width"),
        ({"size": {"longest_edge": 8}}, r"allowed are an equal height and width"),
        ({"do_resize": False}, r"do_resize is false; allowed is true"),
        ({"do_center_crop": True, "crop_size": 4}, r"crop_size is .*4.*; allowed is the 8 × 8"),
        (
            {"size": 4, "do_center_crop": True, "crop_size": 8},
            r"less than crop_size; allowed is the 8 × 8 that the model reads or more",
        ),
        (
            {"image_std": [0.0]},
            r"preprocessor_config\.json: std\.0: Input should be greater than 0",
        ),
        ({"image_mean": [0.1, 0.2, 0.3]}, r"mean must have 1 elements"),
        ({"image_processor_type": "ConvNextImageProcessor"}, r"preprocessor_config\.json: "),
        ({"image_processor_type": "NoImageProcessor"}, r"preprocessor_config\.json cannot be read"),
        ({"auto_map": {"AutoImageProcessor": "own.Own"}}, r"code of its own .* is never run"),
        ({"do_pad": True, "pad_size": {"height": 9, "width": 9}}, r"makes other inputs than"),
    ],
)
def test_an_image_processor_that_cannot_be_honoured_is_refused(
    processor: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = save_images_checkpoint(tmp_path / "tiny", **processor)
    with pytest.raises(CheckpointError, match=message):
        images_from(folder)


def test_another_image_processor_than_the_checkpoints_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it reads data\.image_processor"):
        images_from(folder, image_processor={"mean": [0.1]})


def test_without_an_image_processor_it_is_refused(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="it has no image processor"):
        images_from(folder)
