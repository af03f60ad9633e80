"""Training kernels compute what torch's own do, and leave the model and torch unchanged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from objectives.models.build import build
from objectives.training.kernels import compiled_layers, training_kernels
from spaces.cost.architecture import Architecture
from spaces.cost.workload import Family, Workload

WORKLOAD = Workload(Family.MODERNBERT_CLASSIFIER, 300, 16, classes=2)
TOKENS = torch.arange(5, 5 + 4 * 16).view(4, 16)


def classifier(*, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    return build(Architecture.of(2, 32).shape, WORKLOAD, dropout=dropout).train()


def gradients(model: Any) -> torch.Tensor:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=TOKENS, labels=torch.tensor([0, 1, 0, 1])).loss
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_plain_attention_has_the_gradients_of_the_fused_kernel() -> None:
    model = classifier()
    fused = gradients(model)
    with training_kernels(model, precision="bf16", steps=1):
        plain = gradients(model)
    assert torch.nn.functional.cosine_similarity(plain, fused, dim=0) > 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_fraction_and_keeps_the_mean(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Dropout(0.1))
    model.register_parameter("weight", nn.Parameter(torch.ones(1)))
    values = torch.ones(1001, 1003, dtype=dtype, requires_grad=True)
    with training_kernels(model, precision="fp32", steps=1):
        dropped = model(values)
    dropped.sum().backward()
    assert (dropped == 0).double().mean().item() == pytest.approx(0.1, abs=0.002)
    assert dropped.double().mean().item() == pytest.approx(1.0, abs=0.005)
    assert torch.equal(values.grad, dropped.detach())  # type: ignore[arg-type]


def test_dropout_depends_on_the_seed_alone() -> None:
    model = classifier(dropout=0.1)
    with training_kernels(model, precision="bf16", steps=1):
        each = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            each.append(gradients(model))
    assert torch.equal(each[0], each[1])
    assert not torch.equal(each[0], each[2])


def test_the_model_and_torch_are_unchanged_afterwards() -> None:
    model = classifier(dropout=0.1)
    names = list(model.state_dict())
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    with training_kernels(model, precision="bf16", steps=1), compiled_layers(model):
        assert list(model.state_dict()) == names
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() == allowed  # type: ignore[no-untyped-call]
    assert torch.backends.cuda.flash_sdp_enabled()
