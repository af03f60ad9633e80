"""Pruning: whole heads and neurons for smaller matrices, or single weights for storage."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from objectives.batches import Batch
from objectives.model import encoder_layers
from spaces.architecture import Architecture


def prune_structured(
    model: nn.Module, architecture: Architecture, sparsity: float, batches: list[Batch]
) -> nn.Module:
    """Remove the least important heads and feed-forward neurons of each layer.

    Importance is the first-order change of the loss when a head or neuron is removed, |a · dL/da|
    summed over calibration examples: Michel et al. 2019 (arXiv 1905.10650), section 2, for heads;
    Molchanov et al. 2017 (arXiv 1611.06440), section 2.2, for neurons. Every layer keeps the same
    number, so that the shapes are known before training.

    Args:
        model: The classifier; it is left as it is.
        architecture: Its shape.
        sparsity: Share to remove, 0 to 1.
        batches: Labelled calibration batches.

    Returns:
        A smaller copy.
    """
    pruned = copy.deepcopy(model).eval()
    heads = architecture.kept_heads(sparsity)
    neurons = architecture.kept_feed_forward(sparsity)
    importances = _importances(pruned, architecture, batches)
    for layer, (of_heads, of_neurons) in zip(encoder_layers(pruned), importances, strict=True):
        channels = _channels(_most_important(of_heads, heads), architecture.head_width)
        _keep_attention(layer, channels)
        _keep_feed_forward(layer, _most_important(of_neurons, neurons))
    return pruned


def prune_unstructured(model: nn.Module, sparsity: float) -> nn.Module:
    """Zero the smallest weights of all linear layers together (Han et al. 2015, arXiv 1506.02626).

    This saves storage only: dense kernels multiply by the zeros, at full latency.

    Args:
        model: The classifier; it is left as it is.
        sparsity: Share of the linear layers' weights to zero, 0 to 1.

    Returns:
        A copy with exactly ``round(sparsity * weights)`` zeros more.
    """
    pruned = copy.deepcopy(model).eval()
    weights = [m.weight for m in pruned.modules() if isinstance(m, nn.Linear)]
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    count = round(sparsity * len(magnitudes))
    keep = torch.ones(len(magnitudes), dtype=torch.bool)
    keep[torch.argsort(magnitudes, stable=True)[:count]] = False
    with torch.no_grad():
        for weight, mask in zip(
            weights, torch.split(keep, [w.numel() for w in weights]), strict=True
        ):
            weight.mul_(mask.view_as(weight))
    return pruned


def _importances(
    model: nn.Module, architecture: Architecture, batches: list[Batch]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Importance of heads ``(heads,)`` and neurons ``(feed_forward,)`` for each layer."""
    layers = encoder_layers(model)
    heads = [torch.zeros(architecture.heads) for _ in layers]
    neurons = [torch.zeros(architecture.feed_forward) for _ in layers]
    for batch in batches:
        with ExitStack() as stack:
            contexts = [stack.enter_context(_inputs_of(x.attention.output.dense)) for x in layers]
            hiddens = [stack.enter_context(_inputs_of(x.output.dense)) for x in layers]
            logits = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).logits
            functional.cross_entropy(logits, batch["labels"]).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        for index in range(len(layers)):
            effect = _effect(contexts[index])
            by_head = effect.view(len(effect), architecture.heads, -1).sum(-1)
            heads[index] += by_head.abs().sum(0)
            neurons[index] += _effect(hiddens[index]).abs().sum(0)
    return list(zip(heads, neurons, strict=True))


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the input of a module, with its gradient."""
    seen: list[torch.Tensor] = []

    def collect(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        arguments[0].retain_grad()
        seen.append(arguments[0])

    handle = module.register_forward_pre_hook(collect)
    try:
        yield seen
    finally:
        handle.remove()


def _effect(inputs: list[torch.Tensor]) -> torch.Tensor:
    """Activation times gradient, summed over the sequence: ``(batch, channels)``."""
    (activation,) = inputs
    assert activation.grad is not None
    return (activation.detach() * activation.grad).sum(1)


def _most_important(importance: torch.Tensor, count: int) -> torch.Tensor:
    return torch.topk(importance, count).indices.sort().values


def _channels(heads: torch.Tensor, head_width: int) -> torch.Tensor:
    return (heads[:, None] * head_width + torch.arange(head_width)).flatten()


def _keep_attention(layer: Any, channels: torch.Tensor) -> None:
    attention = layer.attention
    for projection in ("query", "key", "value"):
        linear = getattr(attention.self, projection)
        setattr(attention.self, projection, _linear(linear.weight[channels], linear.bias[channels]))
    output = attention.output.dense
    attention.output.dense = _linear(output.weight[:, channels], output.bias)


def _keep_feed_forward(layer: Any, neurons: torch.Tensor) -> None:
    into, out_of = layer.intermediate.dense, layer.output.dense
    layer.intermediate.dense = _linear(into.weight[neurons], into.bias[neurons])
    layer.output.dense = _linear(out_of.weight[:, neurons], out_of.bias)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear
