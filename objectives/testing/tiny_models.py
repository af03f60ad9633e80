"""Untrained models of every family that are small enough for a test, and inputs for them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import Batch, logits
from objectives.models.build import build
from spaces.cost.architecture import Architecture
from spaces.cost.workload import Family, Workload

WORKLOADS = {
    Family.MODERNBERT_CLASSIFIER: Workload(Family.MODERNBERT_CLASSIFIER, 300, 16, classes=3),
    Family.MODERNBERT_TOKEN_CLASSIFIER: Workload(
        Family.MODERNBERT_TOKEN_CLASSIFIER, 300, 16, classes=3
    ),
    Family.MODERNBERT_MASKED_LM: Workload(Family.MODERNBERT_MASKED_LM, 300, 16),
    Family.ROBERTA_CLASSIFIER: Workload(Family.ROBERTA_CLASSIFIER, 300, 16, classes=3),
    Family.ROBERTA_TOKEN_CLASSIFIER: Workload(Family.ROBERTA_TOKEN_CLASSIFIER, 300, 16, classes=3),
    Family.ROBERTA_MASKED_LM: Workload(Family.ROBERTA_MASKED_LM, 300, 16),
    Family.LLAMA: Workload(Family.LLAMA, 300, 16),
    Family.MBART: Workload(Family.MBART, 300, 16),
    Family.VIT: Workload(Family.VIT, 0, 17, classes=3, image_size=8, patch_size=2, channels=3),
}
"""What they read and predict, by family."""
TAGGERS = (Family.MODERNBERT_TOKEN_CLASSIFIER, Family.ROBERTA_TOKEN_CLASSIFIER)
"""Families whose models classify each token."""


def architecture_for(family: Family, depth: int, width: int, **rest: Any) -> Architecture:
    """An architecture of a family; the decoder, if any, is as deep as the encoder by default."""
    if family.has_decoder:
        rest.setdefault("decoder_depth", depth)
    return Architecture.of(depth, width, **rest)


def batch_for(workload: Workload, *, count: int, seed: int = 0) -> Batch:
    """Random inputs of full length without padding, and the ``targets`` of each answer."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, workload.sequence_length)
    tokens = torch.randint(5, workload.vocabulary_size or 300, shape, generator=generator)
    if workload.family is Family.VIT:
        pixels = (count, workload.channels, workload.image_size, workload.image_size)
        images = torch.randn(pixels, generator=generator)
        return {"pixel_values": images, "targets": tokens[:, 0] % workload.classes}
    if workload.family is Family.LLAMA:
        return {"input_ids": tokens, "targets": tokens.roll(-1, 1)}
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if workload.family in TAGGERS:
        return {**inputs, "targets": tokens % workload.classes}
    if workload.family.is_classifier_of_text:
        return {**inputs, "targets": tokens[:, 3] % workload.classes}
    if workload.family.has_decoder:
        return {**inputs, "decoder_input_ids": tokens.roll(1, 1), "targets": tokens}
    return {**inputs, "targets": tokens}


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the ``targets`` of a batch."""
    return functional.cross_entropy(logits(model, batch).flatten(0, -2), batch["targets"].flatten())


@cache
def dense_model(family: Family, depth: int) -> nn.Module:
    """A model of a width of 64 with the same weights in each call, in evaluation mode."""
    torch.manual_seed(0)
    return build(architecture_for(family, depth, 64).shape, WORKLOADS[family]).eval()
