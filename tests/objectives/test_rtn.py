"""Codes, scales and zeros of a matrix."""

from __future__ import annotations

import pytest
import torch

from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.weights import QuantisedWeight, dequantise
from objectives.failures import TrialFailure

pytestmark = pytest.mark.usefixtures("one_thread")

BITS = [2, 3, 4, 6, 8]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", [64, 100, 20])
def test_round_to_nearest_uses_its_whole_grid_and_is_within_half_a_step(
    bits: int, columns: int
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(300, columns)
    weight[3, 7] = 0.0
    quantised = round_to_nearest(weight, bits=bits, group_size=32)
    largest = 2 ** (bits - 1) - 1
    assert quantised.codes.dtype == torch.int8
    assert (int(quantised.codes.min()), int(quantised.codes.max())) == (-largest, largest)
    assert quantised.codes[3, 7] == 0
    assert quantised.scales.shape == (300, -(-columns // 32))
    steps = quantised.scales.float().repeat_interleave(32, dim=1)[:, :columns]
    error = (dequantise(quantised) - weight).abs()
    assert (error <= 0.501 * steps + 1e-3 * weight.abs()).all()


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
