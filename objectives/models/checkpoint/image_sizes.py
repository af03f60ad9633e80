"""The images that a checkpoint reads."""

from __future__ import annotations

import json

from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.opening import OpenCheckpoint

PROCESSOR = "preprocessor_config.json"
CENTRE = 0.5
"""Mean and deviation of pixels from 0 to 1 that become those from -1 to 1, which models read
(``objectives.data.batches.pixel_values``)."""


def image_sizes(opened: OpenCheckpoint) -> dict[str, int]:
    """The sizes of images and patches that a checkpoint reads, by their fields in the search file.

    Raises:
        CheckpointError: It has no image processor, or one that makes other inputs than tlc.
    """
    file = opened.folder / PROCESSOR
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        means = [*fields["image_mean"], *fields["image_std"]]
    except FileNotFoundError as error:
        raise CheckpointError(opened.name, f"it has no image processor: no {PROCESSOR}") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(opened.name, f"its {PROCESSOR} cannot be read: {error}") from error
    if any(value != CENTRE for value in means):
        raise CheckpointError(
            opened.name,
            f"its image processor normalises by {means}; allowed are a mean and a deviation of "
            f"{CENTRE}",
        )
    config = opened.config
    sizes = {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "channels": config.num_channels,
    }
    if not all(isinstance(size, int) for size in sizes.values()):
        raise CheckpointError(opened.name, f"it reads images of {sizes}; allowed are squares")
    return sizes
