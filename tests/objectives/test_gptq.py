"""GPTQ: on every family, less error in the outputs of every layer than rounding to nearest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from objectives.compression.packing import pack
from objectives.compression.quantise.gptq import quantise
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.weights import QuantisedWeight, dequantise
from objectives.data.batches import Batch, logits
from objectives.failures import TrialFailure
from objectives.models.forward import hook_inputs, linear_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def gptq(
    model: nn.Module, batches: list[Batch], *, bits: int, group_size: int
) -> dict[str, QuantisedWeight]:
    """The codes of all linear layers, by layer."""
    names = [f"{name}.weight" for name in linear_layers(model)]
    found = quantise(model, names, batches, bits=bits, group_size=group_size)
    return {name.removesuffix(".weight"): weight for name, weight in found.items()}


def with_weights(model: nn.Module, quantised: dict[str, QuantisedWeight]) -> nn.Module:
    changed = copy.deepcopy(model)
    for name, layer in linear_layers(changed).items():
        layer.weight = nn.Parameter(dequantise(quantised[name]))
    return changed


def rounded(model: nn.Module, bits: int) -> dict[str, QuantisedWeight]:
    return {
        name: round_to_nearest(layer.weight, bits=bits, group_size=32)
        for name, layer in linear_layers(model).items()
    }


def errors_of_layers(
    model: nn.Module, batches: list[Batch], quantised: dict[str, QuantisedWeight]
) -> dict[str, float]:
    """Squared change of each layer's outputs, on the inputs of the model that was quantised."""
    layers = linear_layers(model)
    changes = {name: dequantise(quantised[name]) - layer.weight for name, layer in layers.items()}
    errors = dict.fromkeys(layers, 0.0)

    def see(name: str, inputs: torch.Tensor) -> None:
        errors[name] += float((inputs @ changes[name].T).square().sum())

    with torch.no_grad(), hook_inputs(layers, see):
        for batch in batches:
            logits(model, batch)
    return errors


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_every_layer_changes_its_outputs_less_than_when_rounded(
    bits: int, small_model: nn.Module, small_batches: list[Batch]
) -> None:
    quantised = gptq(small_model, small_batches, bits=bits, group_size=32)
    errors = errors_of_layers(small_model, small_batches, quantised)
    of_rounded = errors_of_layers(small_model, small_batches, rounded(small_model, bits))
    assert all(errors[name] < of_rounded[name] for name in errors)
    assert sum(errors.values()) < 0.7 * sum(of_rounded.values())


def test_codes_are_exact_and_the_model_stays_as_it_was(
    small_model: nn.Module, small_batches: list[Batch]
) -> None:
    before = {name: tensor.clone() for name, tensor in small_model.state_dict().items()}
    first = gptq(small_model, small_batches, bits=3, group_size=32)
    again = gptq(small_model, small_batches, bits=3, group_size=32)
    after = small_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, layer in linear_layers(small_model).items():
        weight = first[name]
        pack(weight.codes.flatten().numpy(), 3)
        assert weight.codes.shape == layer.weight.shape
        assert weight.scales.dtype == torch.float16
        assert weight.scales.shape == (layer.out_features, -(-layer.in_features // 32))
        assert torch.equal(weight.codes, again[name].codes)
        assert torch.equal(weight.scales, again[name].scales)


def test_the_outputs_change_less_than_when_rounded(
    small_model: nn.Module, small_batches: list[Batch]
) -> None:
    quantised = gptq(small_model, small_batches, bits=2, group_size=32)
    changed, nearest = (
        with_weights(small_model, weights) for weights in (quantised, rounded(small_model, 2))
    )
    with torch.no_grad():
        outputs = [logits(small_model, batch) for batch in small_batches]
        errors = [
            sum(
                float((logits(model, batch) - output).square().sum())
                for batch, output in zip(small_batches, outputs, strict=True)
            )
            for model in (changed, nearest)
        ]
    assert errors[0] < errors[1]


def test_pruned_weights_stay_zero_and_others_compensate(
    small_model: nn.Module, small_batches: list[Batch]
) -> None:
    pruned = copy.deepcopy(small_model)
    with torch.no_grad():
        for layer in linear_layers(pruned).values():
            layer.weight *= layer.weight.abs() >= layer.weight.abs().median()
    quantised = gptq(pruned, small_batches, bits=4, group_size=32)
    for name, layer in linear_layers(pruned).items():
        assert not quantised[name].codes[layer.weight == 0].any()
        assert quantised[name].codes.any()
    errors = errors_of_layers(pruned, small_batches, quantised)
    of_rounded = errors_of_layers(pruned, small_batches, rounded(pruned, 4))
    assert sum(errors.values()) < sum(of_rounded.values())


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(40, 10)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(pixel_values)
        return outputs


def test_a_channel_without_calibration_inputs_is_rounded_and_not_zeroed() -> None:
    model = OneLayer()
    inputs = torch.randn(64, 40)
    inputs[:, 7] = 0.0
    quantised = gptq(model, [{"pixel_values": inputs}], bits=8, group_size=16)["layer"]
    assert torch.allclose(dequantise(quantised)[:, 7], model.layer.weight[:, 7], atol=2e-3)


def test_a_group_without_negative_weights_keeps_its_range() -> None:
    model = OneLayer()
    with torch.no_grad():
        model.layer.weight.abs_()
    inputs = {"pixel_values": torch.randn(64, 40)}
    quantised = gptq(model, [inputs], bits=8, group_size=16)["layer"]
    assert torch.allclose(dequantise(quantised), model.layer.weight, atol=5e-3)


def test_an_infinite_weight_is_found() -> None:
    model = OneLayer()
    with torch.no_grad():
        model.layer.weight[0, 0] = float("inf")
    with pytest.raises(TrialFailure) as caught:
        gptq(model, [{"pixel_values": torch.randn(8, 40)}], bits=4, group_size=16)
    assert caught.value.state == "not_finite"
