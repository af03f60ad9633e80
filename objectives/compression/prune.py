"""Pruning: removes parts of a model for smaller matrices, or zeroes single weights for storage."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from objectives.compression.model_file import ModelSpec
from objectives.compression.parts import Effect, Loss, importances, keep_parts
from objectives.data.batches import Batch, on_device
from objectives.device import device_of
from objectives.models.forward import layer_heartbeats
from objectives.store import heartbeat
from spaces.cost.compression import Pruning
from spaces.cost.families import layout
from spaces.cost.layout import Role, Stack

SEMI_STRUCTURED_GROUP, SEMI_STRUCTURED_KEPT = 4, 2


def prune(model: nn.Module, spec: ModelSpec, batches: list[Batch], loss: Loss) -> nn.Module:
    """Prune a trained model by its loss on calibration batches.

    Args:
        model: The model; it stays unchanged.
        spec: Its architecture before pruning, its workload, and how to prune it.

    Returns:
        A pruned copy on its device, in evaluation mode; the model itself where nothing is pruned.
    """
    if spec.compression.sparsity == 0.0:
        return model.eval()
    batches = [*on_device(batches, model)]
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
    largest = torch.kthvalue(magnitudes, max(count, 1)).values
    keep = ~(magnitudes < largest)
    # Of equal weights the first ones.
    equal = torch.nonzero(magnitudes == largest).flatten()
    keep[equal[: count - int((~keep).sum())]] = False
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

    The importance of heads and neurons is the first-order change of the loss when one is removed;
    that of a layer is the loss without it (the residual stream bypasses it). Every layer keeps the
    same number, so that the shapes are known before training.
    """
    whole = copy.deepcopy(model).eval()
    old, new = (layout(shape, spec.workload) for shape in (spec.architecture.shape, spec.shape))
    layers = [
        _kept_layers(whole, stack, smaller.depth, batches, loss)
        for stack, smaller in zip(old.stacks, new.stacks, strict=True)
    ]
    scores = [importances(whole, stack, batches, loss, Effect.ON_LOSS) for stack in old.stacks]
    shapes = (spec.architecture.shape, spec.shape)
    kept = keep_parts(whole, shapes, spec.workload, layers, scores)
    return kept.to(device_of(model)).eval()


def _kept_layers(
    model: nn.Module, stack: Stack, count: int, batches: list[Batch], loss: Loss
) -> list[int]:
    """The layers without which the loss is highest, in their order."""
    if count == stack.depth:
        return list(range(stack.depth))
    losses = []
    for index in range(stack.depth):
        layer = model.get_submodule(f"{stack.prefix}.{index}")
        heartbeat.beat("calibrating")
        bypassed = layer.register_forward_hook(_bypass, with_kwargs=True)
        with bypassed, layer_heartbeats(model), torch.no_grad():
            losses.append(sum(float(loss(model, batch)) for batch in batches))
    order = sorted(range(stack.depth), key=lambda index: losses[index], reverse=True)
    return sorted(order[:count])


def _bypass(_: nn.Module, arguments: Any, named: dict[str, Any], output: Any) -> Any:
    """Forward hook with which the residual stream bypasses a layer."""
    stream = arguments[0] if arguments else named["hidden_states"]
    return (stream, *output[1:]) if isinstance(output, tuple) else stream
