"""What arithmetic needs to know of a checkpoint; no weights are needed for it."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig

from objectives.data.encoding import PAD
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.opening import OpenCheckpoint
from objectives.models.checkpoint.task_heads import TaskHead
from objectives.models.layout import UnknownArchitectureError, layout_of
from spaces.cost.checkpoint import Checkpoint
from spaces.cost.layout import HEADS, Layout


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
    if reason := _misfit(layout, config, opened.head):
        raise CheckpointError(opened.name, f"a model of type {config.model_type!r} {reason}")
    with torch.device("meta"):
        model = auto_class.from_config(config, trust_remote_code=False)
    return Checkpoint(
        digest=opened.digest,
        auto_class=opened.head.auto_class_name,
        config=json.dumps(_without_decoding(config), separators=(",", ":")),
        layout=layout,
        positions=_positions(opened.name, model),
    )


def _misfit(layout: Layout, config: Any, head: TaskHead) -> str:
    """Why the layers of a model are not those that a task needs; empty where they are."""
    stacks = layout.stacks
    if len(stacks) != 1 + head.has_decoder:
        needed = "an encoder and a decoder" if head.has_decoder else "one"
        return f"has {len(stacks)} stacks of layers; task {head.task} needs {needed}"
    if any(HEADS in weight.axes for stack in stacks for weight in stack.weights):
        return (
            "has heads whose biases of relative positions all layers share, so that no layer can "
            "lose heads of its own; allowed are others"
        )
    sizes = {(s.heads, s.key_value_heads, s.head_width, s.neurons) for s in stacks}
    if len(sizes) > 1:
        return "has other heads or neurons in its decoder than in its encoder; both must be equal"
    depths = tuple(getattr(config, f"{side}_layers", 0) for side in ("encoder", "decoder"))
    if head.has_decoder and depths != tuple(stack.depth for stack in stacks):
        return "has a configuration without encoder_layers and decoder_layers"
    return ""


def _without_decoding(config: Any) -> dict[str, Any]:
    """A configuration without the settings of decoding that old ones hold."""
    kept = {"use_cache", *(field.name for field in fields(config))}
    of_decoding = GenerationConfig().to_dict().keys() - kept
    described: dict[str, Any] = config.to_diff_dict()
    return {
        name: value
        for name, value in described.items()
        if name not in of_decoding or name.endswith("_token_id")
    }


def _positions(checkpoint: str, model: Any) -> int:
    """Longest input in tokens; RoBERTa and its kin number positions from behind the padding."""
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    # That of an encoder and that of a decoder are modules of their own, with one matrix.
    tokens = getattr(model.get_input_embeddings(), "weight", None)
    paddings = {
        module.padding_idx
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        and module.weight is not tokens
        and module.padding_idx is not None
    }
    if paddings - {PAD}:
        raise CheckpointError(
            checkpoint,
            f"its positions are numbered from padding token {min(paddings)}; allowed is {PAD}",
        )
    return positions - (PAD + 1 if paddings else 0)
