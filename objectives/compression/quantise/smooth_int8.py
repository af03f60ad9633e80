"""SmoothQuant: static int8 after outliers of activations move into the weights (arXiv 2211.10438).

neural-compressor's own needs IPEX, which is no longer developed.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from objectives.compression.quantise import static_int8
from objectives.compression.quantise.weights import StaticInt8Weight
from objectives.data.batches import Batch, forward_arguments
from objectives.models.forward import hook_inputs, linear_layers

_INNER = "linear"
"""Name of the linear layer in a smoothed one."""


def quantise(
    model: nn.Module, names: list[str], batches: list[Batch], **_: int
) -> dict[str, StaticInt8Weight]:
    """Quantise linear layers as ``static_int8`` does, after smoothing their inputs."""
    model, batches = static_int8.on_cpu(model, batches)
    factors = smoothing_factors(model, batches)
    inner = {name: f"{name.removesuffix('.weight')}.{_INNER}.weight" for name in names}
    found = static_int8.quantise(smoothed(model, factors), list(inner.values()), batches)
    return {
        name: replace(found[inner[name]], smoothing=factors[name.removesuffix(".weight")])
        for name in names
    }


class SmoothedLinear(nn.Module):
    """The same linear function with inputs divided by fp32 ``factors``, ``(columns,)``.

    It contains a linear layer and is none, because the quantiser of graphs finds layers by their
    class.
    """

    def __init__(self, linear: nn.Linear, factors: torch.Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(linear.in_features, linear.out_features, device="meta")
        self.linear.weight = nn.Parameter(linear.weight.detach() * factors)
        self.linear.bias = linear.bias
        self.register_buffer("factors", factors)

    @property
    def weight(self) -> torch.Tensor:
        """Some models read the type of a layer's weight."""
        return self.linear.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply to ``(..., inputs)``; returns ``(..., outputs)``."""
        outputs: torch.Tensor = self.linear(inputs / self.get_buffer("factors"))
        return outputs


def smoothing_factors(model: nn.Module, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """The divisor of each input channel of each linear layer.

    The square root of max|X_j| / max|W_j|: Xiao et al. 2022 (arXiv 2211.10438), equation 4, with
    migration strength one half. 1 where all inputs of a channel or all its weights are zero.

    Returns:
        fp32, ``(columns,)``, by the name of the linear layer, of those that a forward pass reaches.
    """
    layers = linear_layers(model)
    largest: dict[str, torch.Tensor] = {}

    def observe(name: str, inputs: torch.Tensor) -> None:
        of_channels = inputs.abs().flatten(0, -2).amax(0)
        largest[name] = torch.maximum(largest.get(name, of_channels), of_channels)

    with torch.no_grad(), hook_inputs(layers, observe):
        for batch in batches:
            model(**forward_arguments(batch))
    factors: dict[str, torch.Tensor] = {}
    for name, inputs in largest.items():
        weights = layers[name].weight.detach().abs().amax(0)
        is_idle = (inputs == 0) | (weights == 0)
        factors[name] = torch.where(is_idle, 1.0, (inputs / weights).sqrt())
    return factors


def smoothed(model: nn.Module, factors: dict[str, torch.Tensor]) -> nn.Module:
    """A copy of a model with smoothed linear layers, which computes the same function."""
    changed = copy.deepcopy(model)
    for name, layer in linear_layers(changed).items():
        if name in factors:
            changed.set_submodule(name, SmoothedLinear(layer, factors[name]))
    return changed
