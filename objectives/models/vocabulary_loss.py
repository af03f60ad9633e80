"""Cross-entropy over a vocabulary, of a large batch without all of its logits in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from objectives.data.encoding import IGNORED
from spaces.cost.memory.training import CHUNK_LOGITS, MAX_LOGITS

_WHOLE: WeakSet[nn.Module] = WeakSet()
"""Models that do something else with their logits before they return them."""


def vocabulary_loss(
    model: Any,
    predict: Callable[[], torch.Tensor],
    targets: torch.Tensor,
    *,
    reduction: str = "mean",
    ignored: int = IGNORED,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy of the logits that a model predicts.

    More than ``MAX_LOGITS`` are computed in chunks, and again in the backward pass, so that no more
    than those of a chunk are in memory; the loss is the same but for the order of its sums.
    torch's ``linear_cross_entropy`` has no label smoothing, and rounds the loss to bf16.

    Args:
        model: The model.
        predict: Returns its logits, ``(..., vocabulary)``.
        targets: The token of each prediction, in the shape of the predictions or flat.
        reduction: ``mean`` or ``sum`` of the targets that count, or ``none``.
        ignored: The target that does not count.
        smoothing: Part of a target that goes to all tokens alike.

    Returns:
        A number, or losses in the shape of the targets.
    """
    how: dict[str, Any] = {"ignore_index": ignored, "label_smoothing": smoothing}
    # A model that is none of transformers names no head.
    head: Any = None
    if hasattr(model, "get_output_embeddings"):
        head = model.get_output_embeddings()
    is_large = head is not None and len(head.weight) * targets.numel() > MAX_LOGITS
    if is_large and model not in _WHOLE:
        rows = max(1, CHUNK_LOGITS // len(head.weight))
        with _losses_from(model, head, targets.flatten(), rows, how) as found:
            returned = predict()
        if torch.equal(returned, found["states"]):
            losses = found["losses"]
            if reduction == "none":
                return losses.view_as(targets)
            counted = 1 if reduction == "sum" else (targets != ignored).sum()
            return losses.sum() / counted
        _WHOLE.add(model)
    logits = predict().float()
    logits = logits.flatten(0, -2) if targets.ndim == 1 else logits.transpose(1, 2)
    return functional.cross_entropy(logits, targets, reduction=reduction, **how)


@contextmanager
def _losses_from(
    model: Any, head: Any, targets: torch.Tensor, rows: int, how: dict[str, Any]
) -> Iterator[dict[str, torch.Tensor]]:
    """Inside the block, the head returns the states that it reads, and computes their losses."""
    found: dict[str, torch.Tensor] = {}
    further_bias = getattr(model, "final_logits_bias", None)
    forward = head.forward

    def losses(states: torch.Tensor) -> torch.Tensor:
        # What is computed again later needs the weights of now, which hooks may exchange.
        apply = (
            partial(functional.linear, weight=_cast(head.weight), bias=head.bias)
            if isinstance(head, nn.Linear)
            else forward
        )
        of_chunk = partial(_chunk_losses, apply, further_bias, how)
        chunks = zip(
            torch.split(states.flatten(0, -2), rows), torch.split(targets, rows), strict=True
        )
        found["losses"] = torch.cat(
            [
                checkpoint(of_chunk, *chunk, use_reentrant=False, preserve_rng_state=False)
                for chunk in chunks
            ]
        )
        found["states"] = states
        return states

    head.forward = losses
    if further_bias is not None:
        # A number, which leaves states as they are.
        model.final_logits_bias = further_bias.new_zeros(())
    try:
        yield found
    finally:
        del head.forward
        if further_bias is not None:
            model.final_logits_bias = further_bias


def _chunk_losses(
    apply: Callable[[torch.Tensor], torch.Tensor],
    further_bias: torch.Tensor | None,
    how: dict[str, Any],
    states: torch.Tensor,
    targets: torch.Tensor,
) -> torch.Tensor:
    logits = apply(states).float()
    if further_bias is not None:
        logits = logits + further_bias
    return functional.cross_entropy(logits, targets, reduction="none", **how)


def _cast(weight: torch.Tensor) -> torch.Tensor:
    """A weight as autocast would use it: once, and not for each chunk."""
    device = weight.device.type
    if not torch.is_autocast_enabled(device):
        return weight
    return weight.to(torch.get_autocast_dtype(device))
