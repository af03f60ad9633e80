"""The images that a checkpoint reads: their sizes, and what its image processor makes of them."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

from objectives.data.batches import pixel_values
from objectives.data.pixels import normalisation, to_pixels
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.opening import OpenCheckpoint, quiet
from spaces.file.image_processor import ImageProcessor, Resample

PROCESSOR = "preprocessor_config.json"
TOLERANCE = 1e-4
"""Largest difference between inputs of the checkpoint's image processor and of tlc, as a fraction
of the largest: rounding of fp32 is a thousandth of it, one step of a pixel 40 times as much."""


def image_inputs(opened: OpenCheckpoint) -> dict[str, Any]:
    """The sizes of images and patches that a checkpoint reads, and its image processor, by their
    fields in the search file.

    Raises:
        CheckpointError: It has no image processor, or one that makes other inputs than tlc can.
    """
    config = opened.config
    sizes = {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "channels": config.num_channels,
    }
    if not all(isinstance(size, int) for size in sizes.values()):
        raise CheckpointError(opened.name, f"it reads images of {sizes}; allowed are squares")
    theirs = _loaded(opened)
    try:
        ours = _image_processor(theirs, config.image_size)
        difference = _difference(theirs, ours, config.image_size, config.num_channels)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise CheckpointError(opened.name, f"its {PROCESSOR}: {reason}") from error
    except Exception as error:
        # Image processors of transformers raise anything.
        raise CheckpointError(opened.name, f"its {PROCESSOR}: {error}") from error
    if difference > TOLERANCE:
        raise CheckpointError(
            opened.name,
            f"its image processor, a {type(theirs).__name__}, makes other inputs than resizing, "
            "a cut to the centre, rescaling and normalising, which are allowed",
        )
    return {**sizes, "image_processor": ours}


def _loaded(opened: OpenCheckpoint) -> Any:
    """The image processor of a checkpoint in transformers; no code of the checkpoint runs."""
    from transformers import AutoImageProcessor

    try:
        fields = json.loads((opened.folder / PROCESSOR).read_text(encoding="utf-8"))
        if "auto_map" in fields:
            raise CheckpointError(
                opened.name,
                f"its {PROCESSOR} needs code of its own repository (auto_map), which is never run; "
                "allowed are image processors that transformers itself has",
            )
        with quiet():
            return AutoImageProcessor.from_pretrained(
                opened.folder, backend="pil", trust_remote_code=False, local_files_only=True
            )
    except FileNotFoundError as error:
        raise CheckpointError(opened.name, f"it has no image processor: no {PROCESSOR}") from error
    except CheckpointError:
        raise
    except Exception as error:
        # The readers of transformers raise anything.
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(
            opened.name, f"its {PROCESSOR} cannot be read: {type(error).__name__}: {reason}"
        ) from error


def _image_processor(theirs: Any, image_size: int) -> ImageProcessor:
    """The same as tlc has it; ``ValueError`` names the field that it cannot honour."""
    is_cut = bool(theirs.do_center_crop)
    size, made = dict(theirs.size or {}), f"the {image_size} × {image_size} that the model reads"
    if not theirs.do_resize:
        raise ValueError("do_resize is false; allowed is true")
    if size.keys() != {"shortest_edge"} and (
        size.keys() != {"height", "width"} or size["height"] != size["width"]
    ):
        raise ValueError(
            f"size is {size}; allowed are an equal height and width, or a shortest_edge"
        )
    edge = next(iter(size.values()))
    if is_cut and set(dict(theirs.crop_size).values()) != {image_size}:
        raise ValueError(f"crop_size is {dict(theirs.crop_size)}; allowed is {made}")
    if is_cut and edge < image_size:
        raise ValueError(f"size is {size}, less than crop_size; allowed is {made} or more")
    if not is_cut and (edge != image_size or "shortest_edge" in size):
        raise ValueError(f"size is {size} without do_center_crop; allowed is {made}")
    mean, std = theirs.image_mean, theirs.image_std
    if not theirs.do_normalize:
        mean, std = 0.0, 1.0
    return ImageProcessor(
        resize=edge if edge != image_size else None,
        keeps_ratio="shortest_edge" in size,
        resample=get_args(Resample)[int(theirs.resample)],
        rescale_factor=float(theirs.rescale_factor) if theirs.do_rescale else 1.0,
        mean=list(map(float, np.atleast_1d(mean))),
        std=list(map(float, np.atleast_1d(std))),
    )


def _difference(theirs: Any, ours: ImageProcessor, size: int, channels: int) -> float:
    """Largest difference between the inputs of two image processors, as a fraction of the largest
    input: each family of transformers may do more than its fields say."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(256, size=(2 * size, 3 * size, channels))
    picture = Image.fromarray(pixels.astype(np.uint8).squeeze())
    expected = np.asarray(theirs(picture, return_tensors="np")["pixel_values"][0])
    made = to_pixels([picture], channels=channels, size=size, processor=ours)
    found = pixel_values(made, normalisation(ours, channels)).numpy()[0]
    if expected.shape != found.shape:
        return float("inf")
    return float(np.abs(expected - found).max() / max(1e-9, np.abs(expected).max()))
