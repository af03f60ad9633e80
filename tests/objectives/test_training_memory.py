"""The predicted activations are what torch keeps for the backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from objectives.data.batches import forward_arguments
from objectives.models.build import build
from objectives.testing.tiny_models import architecture_for, batch_for
from objectives.training.kernels import training_kernels
from spaces.cost.memory.training import training_memory
from spaces.cost.units import Precision
from spaces.cost.workload import Family, Workload

LONG = {
    Family.MODERNBERT_MASKED_LM: Workload(Family.MODERNBERT_MASKED_LM, 300, 64),
    Family.ROBERTA_MASKED_LM: Workload(Family.ROBERTA_MASKED_LM, 300, 64),
    Family.LLAMA: Workload(Family.LLAMA, 300, 64),
    Family.MBART: Workload(Family.MBART, 300, 64),
    Family.VIT: Workload(Family.VIT, 0, 65, classes=3, image_size=16, patch_size=2, channels=3),
}
BATCH = 8


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("family", LONG)
def test_activations_are_what_the_forward_pass_keeps(
    family: Family, dropout: float, precision: Precision
) -> None:
    workload = LONG[family]
    architecture = architecture_for(family, 4, 64, feed_forward=256)
    model: Any = build(architecture.shape, workload, dropout=dropout).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = forward_arguments(batch_for(workload, count=BATCH))
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    kernels = training_kernels(model, precision=precision, steps=1)
    with kernels, bf16, saved_tensors_hooks(pack, lambda tensor: tensor):
        states = model.base_model(**inputs)[0]
    assert states.requires_grad
    predicted = training_memory(
        architecture, workload, batch_size=BATCH, precision=precision, dropout=dropout
    )
    assert predicted.activations == pytest.approx(sum(kept.values()), rel=0.15)
