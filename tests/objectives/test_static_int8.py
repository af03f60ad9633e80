"""Static int8 of every family, plain and smoothed."""

from __future__ import annotations

import copy
import gc
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from objectives.compression.quantise import smooth_int8, static_int8
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.static_int8 import StaticInt8Linear
from objectives.compression.quantise.weights import StaticInt8Weight
from objectives.data.batches import Batch, logits
from objectives.models.forward import linear_layers
from tests.objectives.conftest import batch_for, with_outliers

pytestmark = pytest.mark.usefixtures("one_thread")


def in_int8(model: nn.Module, found: dict[str, StaticInt8Weight]) -> nn.Module:
    changed = copy.deepcopy(model)
    for name, layer in linear_layers(model).items():
        changed.set_submodule(name, StaticInt8Linear(found[f"{name}.weight"], layer.bias))
    return changed


def error(model: nn.Module, changed: nn.Module, batches: list[Batch]) -> float:
    """Size of the change of the logits, as a fraction of the logits."""
    with torch.no_grad():
        before = torch.cat([logits(model, batch).flatten() for batch in batches])
        after = torch.cat([logits(changed, batch).flatten() for batch in batches])
    return float((after - before).norm() / before.norm())


def graphs() -> int:
    """Graphs in memory that hold weights of a model."""
    gc.collect()
    found = (each for each in gc.get_objects() if isinstance(each, GraphModule))
    return sum(any(True for _ in each.parameters()) for each in found)


def test_the_graph_of_a_model_does_not_stay_in_memory(
    family: str, small_batches: list[Batch]
) -> None:
    small_model = with_outliers(family, 1)
    # What exists before is not examined, which would take seconds.
    gc.freeze()
    static_int8.quantise(small_model, [], small_batches)
    assert graphs() == 0


@pytest.mark.slow
def test_smoothing_reduces_the_error_of_channels_with_outliers(
    family: str, small_batches: list[Batch]
) -> None:
    # The time to make a graph grows with the layers.
    small_model = with_outliers(family, 1)
    before = {name: tensor.clone() for name, tensor in small_model.state_dict().items()}
    names = [f"{name}.weight" for name in linear_layers(small_model)]
    plain = static_int8.quantise(small_model, names, small_batches)
    smooth = smooth_int8.quantise(small_model, names, small_batches)
    after = small_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert list(plain) == list(smooth) == names
    for name, static in plain.items():
        assert static.smoothing is None
        found = static_int8.row_scales(small_model.get_parameter(name).detach())
        assert torch.allclose(found, static.weight.scales, rtol=1e-5), name
    changed = in_int8(small_model, smooth)
    assert nn.Linear not in {type(module) for module in changed.modules()}
    assert error(small_model, changed, small_batches) < 0.15
    plain_error = error(small_model, in_int8(small_model, plain), small_batches)
    assert error(small_model, changed, small_batches) < plain_error


def test_ranges_are_those_of_the_graph_that_neural_compressor_exports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from neural_compressor.torch.export import export

    # It has all kinds of attention.
    family = "mbart"
    model, batches = with_outliers(family, 1), [batch_for(family) for _ in range(2)]
    names = [f"{name}.weight" for name in linear_layers(model)]
    found = static_int8.quantise(model, names, batches)
    monkeypatch.setattr(static_int8, "exported", export)
    expected = static_int8.quantise(model, names, batches)
    assert found.keys() == expected.keys()
    for name, static in expected.items():
        assert found[name].input_scale == static.input_scale, name
        assert found[name].input_zero_point == static.input_zero_point, name
        assert torch.equal(found[name].weight.codes, static.weight.codes), name


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_int8_kernel_equals_fp32_arithmetic(
    has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not static_int8.has_int8_kernel():
        pytest.skip("this CPU has no exact int8 kernel")
    torch.manual_seed(0)
    linear = nn.Linear(40, 10, bias=has_bias)
    smoothing = torch.rand(40) + 0.5
    rows = round_to_nearest(linear.weight * smoothing, bits=8, group_size=40)
    static = StaticInt8Weight(replace(rows, scales=rows.scales.float()), 10 / 255, 128, smoothing)
    inputs = torch.randn(16, 40)
    in_kernel = StaticInt8Linear(static, linear.bias)(inputs)
    monkeypatch.setattr(static_int8, "has_int8_kernel", lambda: False)
    in_fp32 = StaticInt8Linear(static, linear.bias)(inputs)
    assert torch.allclose(in_kernel, in_fp32, atol=1e-4)
    assert torch.allclose(in_kernel, linear(inputs), atol=0.1)
    assert not torch.equal(in_kernel, linear(inputs))
