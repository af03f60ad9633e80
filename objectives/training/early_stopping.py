"""Early stopping: a path ends when held-out loss stops falling, with the weights of its best epoch.

The criterion is a number of epochs without a lower loss (of Prechelt 1998, "Early Stopping - But
When?", the class UP).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass(frozen=True)
class EarlyStopping:
    """When a path ends before its length.

    Args:
        epoch_steps: Steps after each of which the model is evaluated.
        patience: Epochs without a lower held-out loss after which the path ends.
        evaluate: ``loss`` and ``score`` of a model on the examples that are held out of training.
    """

    epoch_steps: int
    patience: int
    evaluate: Callable[[nn.Module], dict[str, float]]


@dataclass
class HeldOutHistory:
    """Evaluations on held-out examples so far, and the weights of the best.

    Args:
        evaluations: ``step``, ``loss`` and ``score`` of each epoch.
        best_weights: On the CPU; empty before the first evaluation, and after the path's end, when
            they are those of the model.
    """

    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, model: nn.Module, step: int, figures: dict[str, float]) -> None:
        """Add the evaluation of a model after a step; its weights are copied if it is the best."""
        self.evaluations.append({"step": step, **figures})
        if self.epochs_since_best == 0:
            self.best_weights = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in model.state_dict().items()
            }

    @property
    def epochs_since_best(self) -> int:
        """Epochs after the one with the lowest loss; of equal losses the first counts."""
        losses = [evaluation["loss"] for evaluation in self.evaluations]
        return len(losses) - 1 - losses.index(min(losses))
