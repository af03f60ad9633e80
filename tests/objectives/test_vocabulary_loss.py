"""The loss over a vocabulary is the same in chunks, and keeps no logits of a whole batch."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM

from objectives.compression.fake_quantisation import fake_quantised
from objectives.data.batches import logits
from objectives.models import vocabulary_loss as module
from objectives.models.build import build
from objectives.models.vocabulary_loss import vocabulary_loss
from objectives.testing.tiny_models import WORKLOADS, architecture_for, batch_for
from spaces.cost.compression import Quantisation
from spaces.cost.workload import Family

ROWS = 7
"""Predictions of a chunk, which do not divide those of a batch."""


@pytest.fixture
def in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOGITS", 0)
    monkeypatch.setattr(module, "CHUNK_LOGITS", ROWS * 300)


def model_of(family: Family) -> Any:
    torch.manual_seed(0)
    return build(architecture_for(family, 2, 32).shape, WORKLOADS[family])


def result(
    model: Any, loss: Any, *, bf16: bool = False, rounded: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss and its gradient; the weights are rounded only while the loss is computed."""
    model.zero_grad()
    rounding = fake_quantised(model, Quantisation.RTN_4, group_size=32)
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        rounding if rounded else nullcontext(),
    ):
        found = loss()
    found.backward()
    return found.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.usefixtures("in_chunks")
@pytest.mark.parametrize(
    ("family", "smoothing", "how"),
    [
        (Family.LLAMA, 0.0, {}),
        (Family.LLAMA, 0.0, {"bf16": True}),
        (Family.LLAMA, 0.0, {"rounded": True}),
        (Family.MODERNBERT_MASKED_LM, 0.0, {}),
        (Family.ROBERTA_MASKED_LM, 0.0, {"bf16": True}),
        (Family.MBART, 0.1, {}),
    ],
)
def test_chunks_have_the_loss_and_the_gradient_of_the_whole(
    family: Family, smoothing: float, how: dict[str, bool]
) -> None:
    model = model_of(family)
    batch = batch_for(WORKLOADS[family], count=3)
    targets = batch["targets"].flatten().clone()
    targets[5:9] = -100
    if family is Family.MBART:
        model.final_logits_bias = torch.randn_like(model.final_logits_bias)

    def plain() -> torch.Tensor:
        outputs = logits(model, batch).float().flatten(0, -2)
        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def chunked() -> torch.Tensor:
        return vocabulary_loss(model, lambda: logits(model, batch), targets, smoothing=smoothing)

    kept: list[int] = []
    with saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        found = result(model, chunked, **how)
    expected = result(model, plain, **how)
    tolerance = 1e-2 if how.get("bf16") else 1e-5
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=0.0)
    assert (found[1] - expected[1]).norm() < tolerance * expected[1].norm()
    assert max(kept) < 300 * len(targets)
    assert "forward" not in vars(model.get_output_embeddings())


@pytest.mark.usefixtures("in_chunks")
def test_scores_have_a_loss_for_each_token() -> None:
    model, batch = model_of(Family.LLAMA), batch_for(WORKLOADS[Family.LLAMA], count=3)
    targets = batch["targets"]
    with torch.inference_mode():
        found = vocabulary_loss(model, lambda: logits(model, batch), targets, reduction="none")
        whole = logits(model, batch).transpose(1, 2)
    torch.testing.assert_close(found, functional.cross_entropy(whole, targets, reduction="none"))


@pytest.mark.usefixtures("in_chunks")
def test_a_model_that_changes_its_logits_is_not_divided() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 300}
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**sizes, **heads, final_logit_softcapping=0.1))
    batch = batch_for(WORKLOADS[Family.LLAMA], count=2)
    found = vocabulary_loss(model, lambda: logits(model, batch), batch["targets"].flatten())
    whole = logits(model, batch).flatten(0, 1)
    assert torch.equal(found, functional.cross_entropy(whole, batch["targets"].flatten()))
