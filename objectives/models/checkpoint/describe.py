"""What arithmetic needs to know of a checkpoint; no weights are needed for it."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from objectives.data.encoding import PAD
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.opening import OpenCheckpoint
from objectives.models.layout import UnknownArchitectureError, layout_of
from spaces.cost.checkpoint import Checkpoint


def describe(opened: OpenCheckpoint, classes: int) -> Checkpoint:
    """What arithmetic needs to know of a checkpoint.

    Args:
        classes: Classes of a classifier's new head.

    Raises:
        CheckpointError: Its layers cannot be cut down.
    """
    config = opened.config
    if classes:
        config.num_labels = classes
    config.use_cache = False
    auto_class = opened.head.auto_class()
    try:
        layout = layout_of(config, auto_class)
    except UnknownArchitectureError as error:
        raise CheckpointError(opened.name, str(error)) from error
    if len(layout.stacks) != 1:
        raise CheckpointError(
            opened.name,
            f"a model of type {config.model_type!r} has {len(layout.stacks)} stacks of layers; "
            f"task {opened.head.task} needs one",
        )
    with torch.device("meta"):
        model = auto_class.from_config(config, trust_remote_code=False)
    return Checkpoint(
        digest=opened.digest,
        auto_class=opened.head.auto_class_name,
        config=json.dumps(config.to_diff_dict(), separators=(",", ":")),
        layout=layout,
        positions=_positions(opened.name, model),
    )


def _positions(checkpoint: str, model: Any) -> int:
    """Longest input in tokens; RoBERTa and its kin number positions from behind the padding."""
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    tokens = model.get_input_embeddings()
    paddings = {
        module.padding_idx
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        and module is not tokens
        and module.padding_idx is not None
    }
    if paddings - {PAD}:
        raise CheckpointError(
            checkpoint,
            f"its positions are numbered from padding token {min(paddings)}; allowed is {PAD}",
        )
    return positions - (PAD + 1 if paddings else 0)
