"""The training settings of a search file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spaces.file.dimensions import Amount, Count, PositiveNumber, StrictModel


class Training(StrictModel):
    """Training of every model; the budget is a dimension of the space."""

    batch_size: Count = 32
    """Sequences in a step."""
    learning_rate: PositiveNumber = 2e-3
    """Peak AdamW learning rate of a model of width 128 and depth 2. Other sizes get it times the
    factors of CompleteP (arXiv 2505.01618), so that one value suits all."""
    fine_tuning_learning_rate: PositiveNumber = 1e-3
    """The same for fine-tuning."""
    warmup_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Fraction of the *smallest* budget of the space in which the learning rate rises from zero.
    Not of each budget: all budgets share one path, on which the warm-up has one length."""
    decay_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Fraction of the budget, at its end, in which the learning rate falls to zero."""
    fine_tuning: Amount | None = None
    """Budget of fine-tuning, in the unit of ``space.budget`` (classification)."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Decoupled weight decay of the matrices."""
    gradient_clip: PositiveNumber = 1.0
    """Largest norm of the gradient."""
    checkpoint_seconds: PositiveNumber = 30.0
    """Longest training between two checkpoints, which a crash may lose."""

    def warmup_steps(self, fewest_steps: int) -> int:
        """Steps of the warm-up, where the smallest budget buys ``fewest_steps``; at least one."""
        return max(1, int(self.warmup_fraction * fewest_steps))

    def faults(self) -> list[str]:
        """Fields that contradict each other: what is given, and what is allowed."""
        stable = 1.0 - self.decay_fraction
        if self.warmup_fraction <= stable:
            return []
        return [
            f"training.warmup_fraction: {self.warmup_fraction:g} of the smallest budget is more "
            f"than the {stable:g} that decay_fraction {self.decay_fraction:g} leaves before the "
            f"decay; the maximum is {stable:g}"
        ]
