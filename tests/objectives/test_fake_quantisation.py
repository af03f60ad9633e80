"""Quantisation-aware training: rounded weights in the forward pass only."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from objectives.compression.fake_quantisation import fake_quantised
from objectives.compression.quantise.hqq import half_quadratic
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.static_int8 import row_scales
from objectives.compression.quantise.symmetric import linear_scales
from objectives.compression.quantise.weights import QuantisedWeight, dequantise
from objectives.data.batches import Batch, logits
from objectives.models.forward import linear_layers
from objectives.testing.tiny_models import WORKLOADS, batch_for, dense_model
from objectives.training.kernels import repeated_layers
from spaces.cost.compression import Quantisation
from spaces.cost.workload import Family

pytestmark = pytest.mark.usefixtures("one_thread")


def int8_rows(weight: torch.Tensor, **_: int) -> QuantisedWeight:
    scales = row_scales(weight.detach())
    codes = torch.round(weight.detach() / scales).clamp(-127, 127).to(torch.int8)
    return QuantisedWeight(codes, scales, 8, weight.shape[1])


METHODS: dict[str, Callable[..., QuantisedWeight]] = {
    "embedding": round_to_nearest,
    "rtn": partial(round_to_nearest, scales_of=linear_scales),
    "hqq": half_quadratic,
    "static": int8_rows,
}


def on_the_grid(model: nn.Module, quantisation: Quantisation) -> nn.Module:
    """A copy with the weights that a method stores."""
    changed = copy.deepcopy(model)
    embeddings = [module for module in changed.modules() if isinstance(module, nn.Embedding)]
    tied = {id(embedding.weight) for embedding in embeddings}
    for module in changed.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            method = "embedding" if id(module.weight) in tied else quantisation.method
            stored = METHODS[method](module.weight, bits=quantisation.bits, group_size=32)
            module.weight = nn.Parameter(dequantise(stored))
    return changed


def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    outputs = logits(model, batch)
    return nn.functional.cross_entropy(outputs.flatten(0, -2), outputs.flatten(0, -2).argmin(-1))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> None:
    for batch in batches:
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@pytest.mark.parametrize(
    "name", ["rtn-8", "rtn-6", "rtn-4", "rtn-3", "rtn-2", "hqq-4", "hqq-2", "static-8"]
)
def test_the_model_computes_as_if_it_were_rounded(
    name: str, small_model: nn.Module, small_batches: list[Batch]
) -> None:
    quantisation = Quantisation(name)
    expected = on_the_grid(small_model, quantisation)
    with torch.no_grad():
        with fake_quantised(small_model, quantisation, group_size=32):
            seen = logits(small_model, small_batches[0])
        assert torch.equal(seen, logits(expected, small_batches[0]))
        assert not torch.equal(seen, logits(small_model, small_batches[0]))


def test_without_codes_nothing_is_rounded(
    small_model: nn.Module, small_batches: list[Batch]
) -> None:
    expected = logits(small_model, small_batches[0])
    for quantisation in (Quantisation.NONE, Quantisation.BF16):
        with fake_quantised(small_model, quantisation, group_size=32):
            assert torch.equal(logits(small_model, small_batches[0]), expected)


@pytest.mark.parametrize("quantisation", [Quantisation.RTN_4, Quantisation.HQQ_4])
def test_gradients_are_those_of_the_rounded_weights(
    quantisation: Quantisation, small_model: nn.Module, small_batches: list[Batch]
) -> None:
    model, rounded = copy.deepcopy(small_model), on_the_grid(small_model, quantisation)
    with fake_quantised(model, quantisation, group_size=32):
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
    with fake_quantised(model, Quantisation.RTN_3, group_size=32):
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


@pytest.mark.parametrize("quantisation", [Quantisation.RTN_2, Quantisation.HQQ_2])
def test_weights_are_the_same_in_mixed_precision(quantisation: Quantisation) -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(40, 30), torch.eye(40)
    with fake_quantised(layer, quantisation, group_size=16):
        with torch.autocast("cpu", torch.bfloat16):
            low = layer(inputs).float()
        assert torch.allclose(low, layer(inputs), atol=0.01)
        low.sum().backward()
    assert layer.weight.grad is not None


def test_pruned_weights_of_an_asymmetric_grid_are_zero() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 8, bias=False)
    with torch.no_grad():
        layer.weight[:, ::2] = 0.0
    with fake_quantised(layer, Quantisation.HQQ_3, group_size=16):
        assert not layer(torch.eye(32))[::2].any()
        assert layer(torch.eye(32))[1::2].any()


def test_a_forward_pass_that_fails_leaves_a_plain_model() -> None:
    layer = nn.Linear(8, 4)
    weight = layer.weight
    with fake_quantised(layer, Quantisation.RTN_4, group_size=8), pytest.raises(RuntimeError):
        layer(torch.randn(2, 5))
    assert layer.weight is weight


@pytest.mark.slow
def test_layers_are_compiled_once_for_all_steps() -> None:
    model = copy.deepcopy(dense_model(Family.LLAMA, 1))
    batch = batch_for(WORKLOADS[Family.LLAMA], count=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    torch.compiler.reset()
    whole = partial(torch.compile, backend="eager", fullgraph=True)
    with (
        torch._dynamo.config.patch(error_on_recompile=True),
        fake_quantised(model, Quantisation.RTN_4, group_size=32),
    ):
        (layer,) = repeated_layers(model)
        layer.forward = whole(layer.forward)
        train(model, optimizer, [batch] * 3)
