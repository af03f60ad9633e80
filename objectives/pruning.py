"""Pruning: parts of a model for smaller matrices, or single weights for storage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from objectives.batches import Batch
from objectives.models import build
from spaces.architecture import Architecture
from spaces.compression import Compression, Pruning
from spaces.families import layout
from spaces.shapes import Attention, Role, Stack, Workload

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
    state = {weight.name: whole.state_dict()[weight.name] for weight in old.ends}
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
                tensor = whole.state_dict()[f"{stack.prefix}.{layer}.{weight.name}"]
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
    layers = [model.get_submodule(f"{stack.prefix}.{index}") for index in range(stack.depth)]
    for batch in batches:
        with ExitStack() as hooks:
            seen = [
                (
                    [
                        hooks.enter_context(_inputs_of(layer.get_submodule(a.output)))
                        for a in stack.attentions
                    ],
                    hooks.enter_context(_inputs_of(layer.get_submodule(stack.feed_forward.output))),
                )
                for layer in layers
            ]
            loss(model, batch).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        for importance, (contexts, hidden) in zip(found, seen, strict=True):
            for heads, context in zip(importance.heads, contexts, strict=True):
                effect = _effect(context)
                heads += effect.view(len(effect), architecture.heads, -1).sum(-1).abs().sum(0)
            importance.neurons += _effect(hidden).abs().sum(0)
    return found


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
