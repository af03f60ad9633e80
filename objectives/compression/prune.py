"""Pruning: parts of a model for smaller matrices, or single weights for storage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from objectives.data.batches import Batch
from objectives.models.build import build
from objectives.models.hooks import hook_inputs
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning
from spaces.cost.families import layout
from spaces.cost.layout import Attention, Role, Stack
from spaces.cost.workload import Workload

Loss = Callable[[nn.Module, Batch], torch.Tensor]

SEMI_STRUCTURED_GROUP, SEMI_STRUCTURED_KEPT = 4, 2


def prune(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    batches: list[Batch],
    loss: Loss,
) -> nn.Module:
    """Prune a trained model; it is left as it is.

    Args:
        model: The model, on the CPU.
        architecture: Its shape before pruning.
        workload: What it reads and answers.
        compression: What to prune, and how much.
        batches: Calibration batches.
        loss: Loss of a model on one of them.

    Returns:
        A pruned copy in evaluation mode; the model itself where nothing is pruned.
    """
    if compression.sparsity == 0.0:
        return model.eval()
    if compression.pruning is Pruning.UNSTRUCTURED:
        return _zero(model, architecture, workload, compression.sparsity)
    if compression.pruning is Pruning.SEMI_STRUCTURED:
        return _zero_two_of_four(model, architecture, workload)
    return _remove(model, architecture, workload, compression, batches, loss)


def _zero(
    model: nn.Module, architecture: Architecture, workload: Workload, sparsity: float
) -> nn.Module:
    """Zero the smallest weights of all linear layers together (Han et al. 2015, arXiv 1506.02626).

    Exactly ``round(sparsity * weights)`` of them.
    """
    pruned = copy.deepcopy(model).eval()
    weights = _linear_weights(pruned, architecture, workload)
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


def _zero_two_of_four(
    model: nn.Module, architecture: Architecture, workload: Workload
) -> nn.Module:
    """Zero the two smallest of every four neighbours in a row (Mishra et al. 2021, arXiv
    2104.08378); columns beyond a multiple of four stay."""
    pruned = copy.deepcopy(model).eval()
    with torch.no_grad():
        for weight in _linear_weights(pruned, architecture, workload):
            columns = weight.shape[1] - weight.shape[1] % SEMI_STRUCTURED_GROUP
            groups = weight[:, :columns].reshape(weight.shape[0], -1, SEMI_STRUCTURED_GROUP)
            order = groups.abs().argsort(dim=2, descending=True, stable=True)
            mask = torch.zeros_like(groups).scatter_(2, order[..., :SEMI_STRUCTURED_KEPT], 1.0)
            weight[:, :columns] *= mask.reshape(weight.shape[0], columns)
    return pruned


def _linear_weights(
    model: nn.Module, architecture: Architecture, workload: Workload
) -> list[nn.Parameter]:
    return [
        model.get_parameter(weight.name)
        for weight in layout(architecture.shape, workload).weights()
        if weight.role is Role.LINEAR
    ]


def _remove(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    batches: list[Batch],
    loss: Loss,
) -> nn.Module:
    """Remove the least important layers, or heads and neurons of each layer.

    Importance of heads and neurons is the first-order change of the loss when one is removed,
    |a · dL/da| summed over calibration examples: Michel et al. 2019 (arXiv 1905.10650), section 2,
    for heads; Molchanov et al. 2017 (arXiv 1611.06440), section 2.2, for neurons. That of a layer
    is the loss without it (the residual stream goes past it). Every layer keeps the same number, so
    that the shapes are known before training.
    """
    whole = copy.deepcopy(model).eval()
    shape = compression.shape_of(architecture)
    old, new = layout(architecture.shape, workload), layout(shape, workload)
    trained = whole.state_dict()
    state = {weight.name: trained[weight.name] for weight in old.ends}
    for stack, smaller in zip(old.stacks, new.stacks, strict=True):
        layers = _kept_layers(whole, stack, smaller.depth, batches, loss)
        importances = _importances(whole, stack, architecture, batches, loss)
        for place, layer in enumerate(layers):
            rows, columns = _kept_channels(stack, importances[layer], shape.heads, architecture)
            neurons = _most_important(importances[layer].neurons, shape.feed_forward)
            rows |= {f"{name}.weight": neurons for name in stack.feed_forward.inputs}
            rows |= {f"{name}.bias": neurons for name in stack.feed_forward.inputs}
            columns[f"{stack.feed_forward.output}.weight"] = neurons
            for weight in stack.weights:
                tensor = trained[f"{stack.prefix}.{layer}.{weight.name}"]
                if weight.name in rows:
                    tensor = tensor[rows[weight.name]]
                if weight.name in columns:
                    tensor = tensor[:, columns[weight.name]]
                state[f"{stack.prefix}.{place}.{weight.name}"] = tensor
    pruned = build(shape, workload)
    # Tied matrices are not named twice in a layout.
    pruned.load_state_dict(state, strict=False)
    return pruned.eval()


class _Importance:
    """Importances of one layer.

    Args:
        attentions: Its attentions.
        heads: Heads of each.
        neurons: Feed-forward neurons.
    """

    def __init__(self, attentions: tuple[Attention, ...], heads: int, neurons: int) -> None:
        self.heads = [torch.zeros(heads) for _ in attentions]
        self.neurons = torch.zeros(neurons)


def _importances(
    model: nn.Module,
    stack: Stack,
    architecture: Architecture,
    batches: list[Batch],
    loss: Loss,
) -> list[_Importance]:
    """Importance of heads ``(heads,)`` and neurons ``(feed_forward,)`` for each layer."""
    found = [
        _Importance(stack.attentions, architecture.heads, architecture.feed_forward)
        for _ in range(stack.depth)
    ]
    outputs = (*(a.output for a in stack.attentions), stack.feed_forward.output)
    names = [f"{stack.prefix}.{k}.{name}" for k in range(stack.depth) for name in outputs]
    seen: dict[str, torch.Tensor] = {}

    def see(name: str, inputs: torch.Tensor) -> None:
        inputs.retain_grad()
        seen[name] = inputs

    for batch in batches:
        with hook_inputs({name: model.get_submodule(name) for name in names}, see):
            loss(model, batch).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        for index, importance in enumerate(found):
            layer = f"{stack.prefix}.{index}"
            for heads, attention in zip(importance.heads, stack.attentions, strict=True):
                effect = _effect(seen[f"{layer}.{attention.output}"])
                heads += effect.view(len(effect), architecture.heads, -1).sum(-1).abs().sum(0)
            effect = _effect(seen[f"{layer}.{stack.feed_forward.output}"])
            importance.neurons += effect.abs().sum(0)
    return found


def _effect(activation: torch.Tensor) -> torch.Tensor:
    """Activation times gradient, summed over the sequence: ``(batch, channels)``."""
    assert activation.grad is not None
    return (activation.detach() * activation.grad).sum(1)


def _kept_layers(
    model: nn.Module, stack: Stack, count: int, batches: list[Batch], loss: Loss
) -> list[int]:
    """The layers without which the loss is highest, in their order."""
    if count == stack.depth:
        return list(range(stack.depth))
    losses = []
    for index in range(stack.depth):
        with _skipped(model.get_submodule(f"{stack.prefix}.{index}")), torch.no_grad():
            losses.append(sum(float(loss(model, batch)) for batch in batches))
    order = sorted(range(stack.depth), key=lambda index: losses[index], reverse=True)
    return sorted(order[:count])


@contextmanager
def _skipped(layer: nn.Module) -> Iterator[None]:
    """Let the residual stream go past a layer."""

    def skip(_: nn.Module, arguments: Any, named: dict[str, Any], output: Any) -> Any:
        stream = arguments[0] if arguments else named["hidden_states"]
        return (stream, *output[1:]) if isinstance(output, tuple) else stream

    handle = layer.register_forward_hook(skip, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _kept_channels(
    stack: Stack, importance: _Importance, count: int, architecture: Architecture
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Rows and columns of attention weights that belong to the heads that stay."""
    rows: dict[str, torch.Tensor] = {}
    columns: dict[str, torch.Tensor] = {}
    for attention, heads in zip(stack.attentions, importance.heads, strict=True):
        channels = _channels(_most_important(heads, count), architecture.head_width)
        for name in (attention.query, attention.key, attention.value):
            rows |= {f"{name}.weight": channels, f"{name}.bias": channels}
        columns[f"{attention.output}.weight"] = channels
    return rows, columns


def _most_important(importance: torch.Tensor, count: int) -> torch.Tensor:
    return torch.topk(importance, count).indices.sort().values


def _channels(heads: torch.Tensor, head_width: int) -> torch.Tensor:
    return (heads[:, None] * head_width + torch.arange(head_width)).flatten()
