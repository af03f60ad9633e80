"""HQQ: a matrix closer to the original than rounding on the same grid, without data."""

from __future__ import annotations

import pytest
import torch

from objectives.compression.packing import pack
from objectives.compression.quantise.hqq import half_quadratic
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.weights import dequantise
from objectives.failures import TrialFailure

pytestmark = pytest.mark.usefixtures("one_thread")


def weights(rows: int, columns: int) -> torch.Tensor:
    torch.manual_seed(0)
    return 0.05 * torch.randn(rows, columns)


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Rounded to nearest, each group on a grid from its least to its largest weight."""
    groups = weight.view(len(weight), -1, 32)
    least, largest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = (largest - least) / ((1 << bits) - 1)
    return (((groups - least) / step).round() * step + least).view_as(weight)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_it_is_closer_than_rounding_to_nearest(bits: int) -> None:
    weight = weights(30, 320)
    found = dequantise(half_quadratic(weight, bits=bits, group_size=32))
    nearest = rounded(weight, bits)
    assert (found - weight).abs().mean() < 0.98 * (nearest - weight).abs().mean()
    assert (found - weight).square().mean() < (nearest - weight).square().mean()


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_at_equal_bytes_symmetric_rounding_has_the_smaller_squared_error(bits: int) -> None:
    # A scale and a zero for 64 weights, or a scale for 32: half a bit a weight.
    weight = weights(100, 320)
    asymmetric = half_quadratic(weight, bits=bits, group_size=64)
    symmetric = round_to_nearest(weight, bits=bits, group_size=32)
    assert asymmetric.zeros is not None
    assert symmetric.scales.numel() == asymmetric.scales.numel() + asymmetric.zeros.numel()
    errors = [float((dequantise(w) - weight).square().mean()) for w in (symmetric, asymmetric)]
    assert errors[0] < 0.95 * errors[1]


def test_codes_fit_and_groups_run_along_the_columns() -> None:
    weight = weights(6, 100)
    quantised = half_quadratic(weight, bits=3, group_size=32)
    pack(quantised.codes.flatten().numpy(), 3)
    assert quantised.zeros is not None
    assert quantised.scales.shape == quantised.zeros.shape == (6, 4)
    assert quantised.scales.dtype == quantised.zeros.dtype == torch.float16
    # A change of one group is a change of that group alone.
    weight[2, 32:64] *= 3.0
    changed = dequantise(half_quadratic(weight, bits=3, group_size=32)) - dequantise(quantised)
    where = changed.abs().amax(0).nonzero().flatten()
    assert changed[2, 32:64].abs().max() > 0.05
    assert changed.abs()[[0, 1, 3, 4, 5]].max() < 0.02
    assert where.numel() > 0


def test_the_same_matrix_gives_the_same_codes_and_is_left_alone() -> None:
    weight = weights(10, 64)
    before = weight.clone()
    first, again = (half_quadratic(weight, bits=4, group_size=32) for _ in range(2))
    assert torch.equal(first.codes, again.codes)
    assert torch.equal(weight, before)


@pytest.mark.parametrize("value", [0.0, 0.3, -0.3])
def test_groups_of_one_value_are_kept(value: float) -> None:
    weight = weights(4, 33)
    weight[0, :16] = value
    weight[:, 32] = value
    back = dequantise(half_quadratic(weight, bits=4, group_size=16))
    assert torch.allclose(back[0, :16], weight[0, :16], atol=1e-3)
    assert torch.allclose(back[:, 32], weight[:, 32], atol=1e-3)


def test_an_infinite_weight_is_found() -> None:
    weight = weights(4, 32)
    weight[0, 0] = float("inf")
    with pytest.raises(TrialFailure) as caught:
        half_quadratic(weight, bits=4, group_size=16)
    assert caught.value.state == "not_finite"
