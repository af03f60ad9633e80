"""A tiny model that has learnt some batches."""

from __future__ import annotations

import torch
from torch import nn

from objectives.data.batches import Batch
from objectives.models.build import build
from objectives.testing.tiny_models import loss
from spaces.cost.architecture import Architecture
from spaces.cost.workload import Workload

STEPS = 60


def learnt_model(
    architecture: Architecture, workload: Workload, batches: list[Batch], *, learning_rate: float
) -> nn.Module:
    """A model, in evaluation mode, whose predictions on the batches are clear."""
    torch.manual_seed(0)
    model = build(architecture.shape, workload)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(model, batches[step % len(batches)]).backward()
        optimizer.step()
    return model.eval()
