"""Pruning: removes parts of a model for smaller matrices, or zeroes single weights for storage."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from objectives.compression.model_file import ModelSpec
from objectives.data.batches import Batch
from objectives.models.build import build
from objectives.models.forward import hook_inputs
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Pruning
from spaces.cost.families import layout
from spaces.cost.layout import Block, Role, Stack

Loss = Callable[[nn.Module, Batch], torch.Tensor]
Importance = dict[str, torch.Tensor]
"""Importances of one layer's heads and neurons, by the linear layer that reads their outputs."""

SEMI_STRUCTURED_GROUP, SEMI_STRUCTURED_KEPT = 4, 2


def prune(model: nn.Module, spec: ModelSpec, batches: list[Batch], loss: Loss) -> nn.Module:
    """Prune a trained model by its loss on calibration batches.

    Args:
        model: The model, on the CPU; it stays unchanged.
        spec: Its architecture before pruning, its workload, and how to prune it.

    Returns:
        A pruned copy in evaluation mode; the model itself where nothing is pruned.
    """
    if spec.compression.sparsity == 0.0:
        return model.eval()
    if not spec.compression.pruning.is_masking:
        return _remove_parts(model, spec, batches, loss)
    pruned = copy.deepcopy(model).eval()
    weights = [
        pruned.get_parameter(weight.name)
        for weight in layout(spec.shape, spec.workload).weights()
        if weight.role is Role.LINEAR
    ]
    with torch.no_grad():
        if spec.compression.pruning is Pruning.UNSTRUCTURED:
            _zero_smallest(weights, spec.compression.sparsity)
        else:
            _zero_two_of_four(weights)
    return pruned


def _zero_smallest(weights: list[nn.Parameter], sparsity: float) -> None:
    """Zero the smallest weights of all matrices together (Han et al. 2015, arXiv 1506.02626).

    Exactly ``round(sparsity * weights)`` of them.
    """
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    count = round(sparsity * len(magnitudes))
    keep = torch.ones(len(magnitudes), dtype=torch.bool)
    keep[torch.argsort(magnitudes, stable=True)[:count]] = False
    masks = torch.split(keep, [weight.numel() for weight in weights])
    for weight, mask in zip(weights, masks, strict=True):
        weight.mul_(mask.view_as(weight))


def _zero_two_of_four(weights: list[nn.Parameter]) -> None:
    """Zero the two smallest of every four neighbours in a row (Mishra et al. 2021, arXiv
    2104.08378); columns beyond a multiple of four stay."""
    for weight in weights:
        columns = weight.shape[1] - weight.shape[1] % SEMI_STRUCTURED_GROUP
        groups = weight[:, :columns].reshape(weight.shape[0], -1, SEMI_STRUCTURED_GROUP)
        order = groups.abs().argsort(dim=2, descending=True, stable=True)
        mask = torch.zeros_like(groups).scatter_(2, order[..., :SEMI_STRUCTURED_KEPT], 1.0)
        weight[:, :columns] *= mask.reshape(weight.shape[0], columns)


def _remove_parts(model: nn.Module, spec: ModelSpec, batches: list[Batch], loss: Loss) -> nn.Module:
    """Remove the least important layers, or heads and neurons of each layer.

    The importance of heads and neurons is the first-order change of the loss when one is removed,
    |a · dL/da| summed over calibration examples: Michel et al. 2019 (arXiv 1905.10650), section 2,
    for heads; Molchanov et al. 2017 (arXiv 1611.06440), section 2.2, for neurons. That of a layer
    is the loss without it (the residual stream bypasses it). Every layer keeps the same number, so
    that the shapes are known before training.
    """
    whole = copy.deepcopy(model).eval()
    architecture, shape = spec.architecture, spec.shape
    old, new = layout(architecture.shape, spec.workload), layout(shape, spec.workload)
    trained = whole.state_dict()
    state = {weight.name: trained[weight.name] for weight in old.ends}
    for stack, smaller in zip(old.stacks, new.stacks, strict=True):
        layers = _kept_layers(whole, stack, smaller.depth, batches, loss)
        importances = _importances(whole, stack, architecture, batches, loss)
        for index, layer in enumerate(layers):
            rows, columns = _kept_channels(
                stack, importances[layer], shape.heads, shape.feed_forward, architecture.head_width
            )
            for weight in stack.weights:
                tensor = trained.get(f"{stack.prefix}.{layer}.{weight.name}")
                if tensor is None:  # of a first layer
                    continue
                if weight.name in rows:
                    tensor = tensor[rows[weight.name]]
                if weight.name in columns:
                    tensor = tensor[:, columns[weight.name]]
                state[f"{stack.prefix}.{index}.{weight.name}"] = tensor
    pruned = build(shape, spec.workload)
    # A layout names tied matrices once, and a layer that became the first may lack a norm.
    pruned.load_state_dict(state, strict=False)
    return pruned.eval()


def _importances(
    model: nn.Module, stack: Stack, architecture: Architecture, batches: list[Batch], loss: Loss
) -> list[Importance]:
    """Importances of heads ``(heads,)`` and neurons ``(feed_forward,)`` for each layer."""
    counts = {attention.output: architecture.heads for attention in stack.attentions}
    counts[stack.feed_forward.output] = architecture.feed_forward
    importances = [
        {name: torch.zeros(count) for name, count in counts.items()} for _ in range(stack.depth)
    ]
    names = [f"{stack.prefix}.{index}.{name}" for index in range(stack.depth) for name in counts]
    activations: Importance = {}

    def observe(name: str, inputs: torch.Tensor) -> None:
        inputs.retain_grad()
        activations[name] = inputs

    for batch in batches:
        with hook_inputs({name: model.get_submodule(name) for name in names}, observe):
            loss(model, batch).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        for index, importance in enumerate(importances):
            for name, total in importance.items():
                activation = activations[f"{stack.prefix}.{index}.{name}"]
                assert activation.grad is not None
                # Summed over the sequence: ``(batch, channels)``.
                effect = (activation.detach() * activation.grad).sum(1)
                total += effect.view(len(effect), len(total), -1).sum(-1).abs().sum(0)
    return importances


def _kept_layers(
    model: nn.Module, stack: Stack, count: int, batches: list[Batch], loss: Loss
) -> list[int]:
    """The layers without which the loss is highest, in their order."""
    if count == stack.depth:
        return list(range(stack.depth))
    losses = []
    for index in range(stack.depth):
        layer = model.get_submodule(f"{stack.prefix}.{index}")
        with layer.register_forward_hook(_bypass, with_kwargs=True), torch.no_grad():
            losses.append(sum(float(loss(model, batch)) for batch in batches))
    order = sorted(range(stack.depth), key=lambda index: losses[index], reverse=True)
    return sorted(order[:count])


def _bypass(_: nn.Module, arguments: Any, named: dict[str, Any], output: Any) -> Any:
    """Forward hook with which the residual stream bypasses a layer."""
    stream = arguments[0] if arguments else named["hidden_states"]
    return (stream, *output[1:]) if isinstance(output, tuple) else stream


def _kept_channels(
    stack: Stack, importance: Importance, heads: int, neurons: int, head_width: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Rows and columns of a layer's weights that belong to the heads and neurons that stay."""
    rows: dict[str, torch.Tensor] = {}
    columns: dict[str, torch.Tensor] = {}

    def keep(block: Block, channels: torch.Tensor, count: int) -> None:
        fused = (channels + count * torch.arange(block.fused)[:, None]).flatten()
        for name in block.inputs:
            rows.update({f"{name}.weight": fused, f"{name}.bias": fused})
        columns[f"{block.output}.weight"] = channels

    for block in stack.attentions:
        importances = importance[block.output]
        kept = _most_important(importances, heads)
        channels = (kept[:, None] * head_width + torch.arange(head_width)).flatten()
        keep(block, channels, head_width * len(importances))
    importances = importance[stack.feed_forward.output]
    keep(stack.feed_forward, _most_important(importances, neurons), len(importances))
    return rows, columns


def _most_important(importance: torch.Tensor, count: int) -> torch.Tensor:
    return torch.topk(importance, count).indices.sort().values
