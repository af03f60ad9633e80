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
    """Peak AdamW learning rate at width 128; matrices of other widths get it times 128 / width."""
    fine_tuning_learning_rate: PositiveNumber = 1e-3
    """The same for fine-tuning."""
    warmup_steps: Count = 20
    """Steps in which the learning rate rises from zero."""
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
