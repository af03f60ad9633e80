"""Parts of a model: layers, heads and neurons, their importance, and the model that keeps some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

import torch
from torch import nn

from objectives.data.batches import Batch
from objectives.data.encoding import PAD
from objectives.models.build import build
from objectives.models.forward import hook_inputs, hook_states
from objectives.store import heartbeat
from spaces.cost.architecture import Shape
from spaces.cost.families import layout
from spaces.cost.layout import Block, Stack
from spaces.cost.workload import Workload

Loss = Callable[[nn.Module, Batch], torch.Tensor]
Importance = dict[str, torch.Tensor]
"""Importances of one layer's heads and neurons, by the linear layer that reads their outputs."""


class Effect(Enum):
    """What a head or a neuron is important for.

    ``ON_LOSS``: the first-order change of the loss when it is removed, |a · dL/da| of its outputs
    ``a``: Michel et al. 2019 (arXiv 1905.10650), section 2, for heads; Molchanov et al. 2017
    (arXiv 1611.06440), section 2.2, for neurons. ``ON_OUTPUT``: the norm of its outputs, where no
    loss is known yet: Muralidharan et al. 2024 (Minitron, arXiv 2407.14679), section 2.2.
    """

    ON_LOSS = auto()
    ON_OUTPUT = auto()


def importances(
    model: nn.Module, stack: Stack, batches: list[Batch], loss: Loss, effect: Effect
) -> list[Importance]:
    """Importances of heads ``(heads,)`` and neurons ``(neurons,)`` for each layer of a stack,
    summed over calibration examples.

    Args:
        loss: Its forward pass; the value counts only for the effect on it.
    """
    counts = {attention.output: stack.heads for attention in stack.attentions}
    counts[stack.feed_forward.output] = stack.neurons
    found = [
        {name: torch.zeros(count) for name, count in counts.items()} for _ in range(stack.depth)
    ]
    names = [f"{stack.prefix}.{index}.{name}" for index in range(stack.depth) for name in counts]
    activations: Importance = {}

    def observe(name: str, inputs: torch.Tensor) -> None:
        if effect is Effect.ON_LOSS:
            inputs.retain_grad()
            inputs.register_hook(lambda _: heartbeat.beat())  # type: ignore[no-untyped-call]
        activations[name] = inputs

    for batch in batches:
        with (
            torch.set_grad_enabled(effect is Effect.ON_LOSS),
            hook_inputs({name: model.get_submodule(name) for name in names}, observe),
        ):
            value = loss(model, batch)
        if effect is Effect.ON_LOSS:
            value.backward()  # type: ignore[no-untyped-call]
            model.zero_grad(set_to_none=True)
        for index, importance in enumerate(found):
            for name, total in importance.items():
                activation = activations[f"{stack.prefix}.{index}.{name}"]
                own = (
                    _effect_on_loss(activation, len(total))
                    if effect is Effect.ON_LOSS
                    else _norm_of_outputs(activation, len(total), _mask(stack, batch))
                )
                total += own.cpu()
    return found


def block_influences(
    model: nn.Module, stack: Stack, batches: list[Batch], loss: Loss
) -> torch.Tensor:
    """How much each layer of a stack changes hidden states, ``(layers,)``: 1 minus the mean cosine
    similarity of those that enter and leave it, over the tokens of calibration examples.

    Block influence, Men et al. 2024 (ShortGPT, arXiv 2403.03853), section 2.2.

    Args:
        loss: Its forward pass; the value does not count.
    """
    similarities = torch.zeros(stack.depth, dtype=torch.float64)
    tokens = 0
    found: dict[str, torch.Tensor] = {}
    layers = {f"{stack.prefix}.{index}": index for index in range(stack.depth)}

    def compare(name: str, entering: torch.Tensor, leaving: torch.Tensor) -> None:
        found[name] = torch.cosine_similarity(entering, leaving, dim=-1).double()

    for batch in batches:
        modules = {name: model.get_submodule(name) for name in layers}
        with torch.no_grad(), hook_states(modules, compare):
            loss(model, batch)
        for name, index in layers.items():
            counted = _counted(found[name], _mask(stack, batch))
            similarities[index] += (found[name] * counted).sum().cpu()
        tokens += int(counted.sum())
    return 1.0 - similarities / tokens


def _mask(stack: Stack, batch: Batch) -> torch.Tensor | None:
    """Which tokens of a stack are no padding, ``(batch, sequence)``; None where all count."""
    if len(stack.attentions) > 1:
        # A decoder, which reads translations.
        return batch["targets"] != PAD
    return batch.get("attention_mask")


def _norm_of_outputs(
    activation: torch.Tensor, count: int, mask: torch.Tensor | None
) -> torch.Tensor:
    """Importances ``(count,)`` of parts: the norm of the channels of each at every token but those
    of padding."""
    norms = activation.view(*activation.shape[:2], count, -1).norm(dim=-1)
    total: torch.Tensor = (norms * _counted(norms[..., 0], mask)[..., None]).sum((0, 1))
    return total


def _counted(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """1 for each of some values ``(batch, sequence)`` that counts, and 0 for those of padding."""
    if mask is None or mask.shape != values.shape:
        return torch.ones_like(values)
    return mask.to(values)


def _effect_on_loss(activation: torch.Tensor, count: int) -> torch.Tensor:
    """Importances ``(count,)`` of parts by their outputs ``(batch, sequence, channels)``."""
    assert activation.grad is not None
    # Summed over the sequence: ``(batch, channels)``.
    summed = (activation.detach() * activation.grad).sum(1)
    return summed.view(len(summed), count, -1).sum(-1).abs().sum(0)


def keep_parts(
    model: nn.Module,
    shapes: tuple[Shape, Shape],
    workload: Workload,
    layers: Sequence[Sequence[int]],
    scores: Sequence[list[Importance]],
) -> nn.Module:
    """A model on the CPU that has some parts of another one, which stays unchanged.

    Args:
        shapes: The layers before and after.
        layers: Layers of each stack that stay, in their order.
        scores: Importances in all layers of each stack; of each layer that stays, the most
            important heads (whole groups of those that share keys and values) and neurons do.
    """
    trained = model.state_dict()
    old, new = (layout(shape, workload) for shape in shapes)
    state = {weight.name: trained[weight.name] for weight in old.ends}
    stacks = zip(old.stacks, new.stacks, layers, scores, strict=True)
    for stack, smaller, kept, importance in stacks:
        for index, layer in enumerate(kept):
            rows, columns = _kept_channels(stack, smaller, importance[layer])
            for weight in stack.weights:
                tensor = trained.get(f"{stack.prefix}.{layer}.{weight.name}")
                if tensor is None:  # of a first layer
                    continue
                if weight.name in rows:
                    tensor = tensor[rows[weight.name]]
                if weight.name in columns:
                    tensor = tensor[:, columns[weight.name]]
                state[f"{stack.prefix}.{index}.{weight.name}"] = tensor
    built = build(shapes[1], workload)
    # A layout names tied matrices once, and a layer that became the first may lack a norm.
    built.load_state_dict(state, strict=False)
    return built


def _kept_channels(
    stack: Stack, smaller: Stack, importance: Importance
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Rows and columns of a layer's weights that belong to the heads and neurons that stay."""
    rows: dict[str, torch.Tensor] = {}
    columns: dict[str, torch.Tensor] = {}
    sizes = {weight.name: weight.shape[0] for weight in stack.weights}

    def keep(block: Block, parts: torch.Tensor, size: int, count: int) -> None:
        """Keep parts of ``size`` channels, of which there were ``count``."""
        channels = _channels(parts, size)
        for name in block.inputs:
            own = sizes[f"{name}.weight"]
            # Keys and values of a group of heads have fewer rows than their outputs have channels.
            of_group = _channels(parts, own // count) if own < count * size else channels
            fused = torch.arange(max(1, own // (count * size)))[:, None]
            chosen = (of_group + count * size * fused).flatten()
            rows.update({f"{name}.weight": chosen, f"{name}.bias": chosen})
        columns[f"{block.output}.weight"] = channels

    for block in stack.attentions:
        by_group = importance[block.output].view(-1, stack.group).sum(1)
        kept = most_important(by_group, smaller.key_value_heads)
        keep(block, kept, stack.group * stack.head_width, len(by_group))
    of_neurons = importance[stack.feed_forward.output]
    keep(stack.feed_forward, most_important(of_neurons, smaller.neurons), 1, len(of_neurons))
    return rows, columns


def _channels(parts: torch.Tensor, size: int) -> torch.Tensor:
    return (parts[:, None] * size + torch.arange(size)).flatten()


def most_important(importance: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of the parts ``(parts,)`` with the highest importance, ascending."""
    return torch.topk(importance, count).indices.sort().values
