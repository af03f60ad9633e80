"""SmoothQuant: the same function, with outliers moved into the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from objectives.compression.quantise.smooth_int8 import smoothed, smoothing_factors
from objectives.data.batches import Batch, logits
from objectives.models.forward import hook_inputs, linear_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_smoothed_model_computes_the_same(
    small_model: nn.Module, small_batches: list[Batch]
) -> None:
    before = {name: tensor.clone() for name, tensor in small_model.state_dict().items()}
    factors = smoothing_factors(small_model, small_batches)
    changed = smoothed(small_model, factors)
    assert factors.keys() == linear_layers(small_model).keys()
    with torch.no_grad():
        for batch in small_batches:
            expected = logits(small_model, batch)
            assert torch.allclose(logits(changed, batch), expected, atol=1e-4)
    after = small_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(pixel_values)
        return outputs


def test_largest_inputs_and_weights_become_equal() -> None:
    model = OneLayer()
    inputs = torch.randn(50, 4) * torch.tensor([100.0, 1.0, 0.01, 1.0])
    batches = [{"pixel_values": part} for part in inputs.split(10)]
    changed = smoothed(model, smoothing_factors(model, batches))
    weight = changed.get_parameter("layer.linear.weight").abs().amax(0)
    largest = inputs.abs().amax(0) / smoothing_factors(model, batches)["layer"]
    assert torch.allclose(largest, weight)


def test_idle_channels_and_columns_are_not_scaled() -> None:
    model = OneLayer()
    with torch.no_grad():
        model.layer.weight[:, 2] = 0.0
    inputs = torch.randn(50, 4)
    inputs[:, 1] = 0.0
    factors = smoothing_factors(model, [{"pixel_values": inputs}])["layer"]
    assert factors[1] == factors[2] == 1.0
    assert torch.isfinite(factors).all()


def test_hooks_are_removed_after_the_block() -> None:
    model = OneLayer()
    seen: list[str] = []
    with hook_inputs(linear_layers(model), lambda name, _: seen.append(name)):
        model(torch.randn(2, 4))
    model(torch.randn(2, 4))
    assert seen == ["layer"]
