"""Codes, scales and zeros of a matrix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from objectives.compression.quantise.methods import METHODS
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.weights import QuantisedWeight, dequantise
from objectives.failures import TrialFailure

pytestmark = pytest.mark.usefixtures("one_thread")

BITS = [2, 3, 4, 6, 8]
SQUARED_ERRORS = {2: 0.110, 3: 0.0266, 4: 0.0067, 6: 0.000427, 8: 0.0000264}
"""Of standard normal weights in groups of 32. With the whole range and all codes it would be 0.131,
0.030 and 0.0074 at 2, 3 and 4 bits; with one code fewer 0.433, 0.051 and 0.0094."""


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", [64, 100, 20])
def test_every_code_is_used_and_the_nearest_one_is_taken(bits: int, columns: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(300, columns)
    weight[3, 7] = 0.0
    quantised = round_to_nearest(weight, bits=bits, group_size=32)
    half = 1 << (bits - 1)
    assert quantised.codes.dtype == torch.int8
    if bits < 8:
        assert quantised.codes.unique().tolist() == list(range(-half, half))
    assert quantised.codes[3, 7] == 0
    assert quantised.scales.shape == (300, -(-columns // 32))
    scales = quantised.scales.float().repeat_interleave(32, dim=1)[:, :columns]
    error = (dequantise(quantised) - weight).abs()
    for step in (-1, 1):
        neighbour = (quantised.codes + step).clamp(-half, half - 1) * scales
        assert (error <= (neighbour - weight).abs() + 1e-6).all()


@pytest.mark.parametrize("bits", BITS)
def test_the_squared_error_of_normal_weights(bits: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(500, 320)
    for scale in (1.0, -0.01):
        back = dequantise(round_to_nearest(scale * weight, bits=bits, group_size=32))
        error = float((back / scale - weight).square().mean())
        assert error == pytest.approx(SQUARED_ERRORS[bits], rel=0.02)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_no_other_range_of_a_group_is_clearly_better(bits: int) -> None:
    torch.manual_seed(0)
    weight = torch.distributions.Laplace(0.0, 1.0).sample((60, 32))
    weight[:, 0] *= 5.0
    half = 1 << (bits - 1)
    found = (dequantise(round_to_nearest(weight, bits=bits, group_size=32)) - weight).square().sum()
    scales = (torch.linspace(-2.0, 2.0, 801) / half)[:, None] * weight.abs().amax(1)
    scales = scales[scales.abs().amin(1) > 0, :, None]
    codes = (weight / scales).round().clamp(-half, half - 1)
    best = (codes * scales - weight).square().sum(-1).amin(0).sum()
    assert best <= found < 1.06 * best


@pytest.mark.parametrize("bits", [2, 3])
def test_linear_layers_have_the_whole_range_at_2_bits(bits: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 40)
    stored = METHODS["rtn"](layer, ["weight"], [], bits=bits, group_size=32)["weight"]
    assert isinstance(stored, QuantisedWeight)
    whole = layer.weight.detach().view(40, 2, 32).abs().amax(-1) / (1 << (bits - 1))
    has_it = stored.scales.abs().float().isclose(whole, rtol=1e-3)
    assert has_it.all() if bits == 2 else not has_it.all()


def test_zeros_move_the_codes_of_their_group() -> None:
    codes = torch.tensor([[-2, 0, 1], [1, 1, 1]], dtype=torch.int8)
    scales = torch.tensor([[1.0, 2.0], [0.5, 0.25]], dtype=torch.float16)
    zeros = torch.tensor([[-2.0, 0.5], [0.0, 1.0]], dtype=torch.float16)
    values = dequantise(QuantisedWeight(codes, scales, 2, 2, zeros))
    assert values.tolist() == [[0.0, 2.0, 1.0], [0.5, 0.5, 0.0]]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e9])
def test_a_matrix_that_cannot_be_held_is_refused(value: float) -> None:
    weight = torch.zeros(4, 4)
    weight[1, 2] = value
    with pytest.raises(TrialFailure) as caught:
        round_to_nearest(weight, bits=4, group_size=4)
    assert caught.value.state == "not_finite"
