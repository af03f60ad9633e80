"""Quantisation-aware training: rounded weights in the forward pass only."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from objectives.compression.fake_quantisation import fake_quantised
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.weights import dequantise
from objectives.data.batches import Batch, logits
from objectives.models.forward import linear_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def on_the_grid(model: nn.Module, bits: int) -> nn.Module:
    changed = copy.deepcopy(model)
    for module in changed.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            rounded = dequantise(round_to_nearest(module.weight, bits=bits, group_size=32))
            module.weight = nn.Parameter(rounded)
    return changed


def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    outputs = logits(model, batch)
    return nn.functional.cross_entropy(outputs.flatten(0, -2), outputs.flatten(0, -2).argmin(-1))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> None:
    for batch in batches:
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_the_model_computes_as_if_it_were_rounded(
    bits: int, small_model: nn.Module, small_batches: list[Batch]
) -> None:
    expected = on_the_grid(small_model, bits)
    with torch.no_grad():
        with fake_quantised(small_model, bits=bits, group_size=32):
            seen = logits(small_model, small_batches[0])
        assert torch.equal(seen, logits(expected, small_batches[0]))
        assert not torch.equal(seen, logits(small_model, small_batches[0]))


def test_gradients_are_those_of_the_rounded_weights(
    small_model: nn.Module, small_batches: list[Batch]
) -> None:
    model, rounded = copy.deepcopy(small_model), on_the_grid(small_model, 4)
    with fake_quantised(model, bits=4, group_size=32):
        loss_of(model, small_batches[0]).backward()
    loss_of(rounded, small_batches[0]).backward()
    for name, layer in linear_layers(model).items():
        # A tied weight gets the gradients of the head and of the embedding.
        if name.startswith("lm_head") or name == "lm_head.decoder":
            continue
        other = linear_layers(rounded)[name].weight
        assert layer.weight.grad is not None
        assert other.grad is not None
        assert torch.allclose(layer.weight.grad, other.grad, atol=1e-6)


def test_training_changes_ordinary_weights_and_leaves_a_plain_model(
    small_model: nn.Module, small_batches: list[Batch]
) -> None:
    model = copy.deepcopy(small_model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    names = [name for name, _ in model.named_parameters()]
    with fake_quantised(model, bits=3, group_size=32):
        before = loss_of(model, small_batches[0])
        train(model, optimizer, small_batches * 4)
        assert loss_of(model, small_batches[0]) < before
        assert list(model.state_dict()) == list(small_model.state_dict())
    assert [name for name, _ in model.named_parameters()] == names
    assert all(type(module) is type(model.get_submodule(name)) for name, module in
               small_model.named_modules())  # fmt: skip
    for parameter in model.parameters():
        assert type(parameter) is nn.Parameter
    moved = {name for name, value in model.state_dict().items()
             if not torch.equal(value, small_model.state_dict()[name])}  # fmt: skip
    assert {f"{name}.weight" for name in linear_layers(model)} <= moved


def test_a_forward_pass_that_fails_leaves_a_plain_model() -> None:
    layer = nn.Linear(8, 4)
    weight = layer.weight
    with fake_quantised(layer, bits=4, group_size=8), pytest.raises(RuntimeError):
        layer(torch.randn(2, 5))
    assert layer.weight is weight
