"""The training settings of a search file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from spaces.cost.units import MIN_STEPS
from spaces.file.dimensions import (
    Count,
    Fraction,
    NonNegativeNumber,
    PositiveNumber,
    ProperFraction,
    StrictModel,
    Temperature,
    Weight,
)

LAST_STAGE: Final = "last-stage"
"""Recovery replaces the last stage of training."""
RecoveryStart = Literal["end", "last-stage"]
WITHOUT_EFFECT = ("checkpoint_seconds", "micro_batch_size", "activation_checkpointing")
"""Fields that change no result."""
MIN_HELD_OUT = 10
"""Fewest held-out examples by which fine-tuning is stopped."""


class FineTuning(StrictModel):
    """Fine-tuning of a pre-trained model on labelled examples, with early stopping.

    A part of the training examples is held out. The model is evaluated on it after each epoch, and
    the weights with the highest accuracy are kept. Where nothing is held out, all examples are
    trained on, and the weights after the last epoch are kept.
    """

    epochs: Count = 10
    """Most passes over the training examples; the learning rate falls to zero over all of them."""
    patience: Count = 5
    """Epochs without a better held-out accuracy after which training stops."""
    held_out: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Fraction of the training examples that is held out; 0 trains all epochs on all examples.
    Validation and test stay apart."""
    learning_rate: PositiveNumber = 5e-4
    """Peak AdamW learning rate of a model of width 128 and depth 2, as that of the budget."""
    dropout: Fraction = 0.3
    """Dropout of embeddings, attention, layers and the classifier."""
    label_smoothing: Fraction = 0.1
    """Part of the target that goes to all labels alike; of the training loss alone."""
    token_dropout: Fraction = 0.3
    """Probability with which a token of a training text is replaced by the mask token (word
    dropout, Iyyer et al. 2015)."""
    r_drop: NonNegativeNumber = 1.0
    """Weight of the divergence between the predictions of two passes over each batch, which differ
    in what dropout drops (R-Drop, arXiv 2106.14448); 0 makes one pass, in about half the time."""

    def held_out_examples(self, examples: int) -> int:
        """How many of some training examples are held out."""
        return round(self.held_out * examples)

    def epoch_steps(self, examples: int, batch_size: int) -> int:
        """Optimiser steps of an epoch of the training examples that are not held out."""
        return -(-(examples - self.held_out_examples(examples)) // batch_size)

    def max_steps(self, examples: int, batch_size: int) -> int:
        """Optimiser steps of all epochs, where training does not stop early."""
        return self.epochs * self.epoch_steps(examples, batch_size)

    @property
    def passes(self) -> int:
        """Forward and backward passes over a batch in each step."""
        return 2 if self.r_drop else 1

    def faults(self, examples: int, batch_size: int) -> list[str]:
        """What does not suit a number of training examples."""
        field = "training.fine_tuning"
        if self.held_out > 0.0 and self.held_out_examples(examples) < MIN_HELD_OUT:
            return [
                f"{field}.held_out: {self.held_out:g} of {examples:,} training examples is only "
                f"{self.held_out_examples(examples)}; the minimum is {MIN_HELD_OUT}, or 0 without "
                "early stopping"
            ]
        if (steps := self.max_steps(examples, batch_size)) < MIN_STEPS:
            return [
                f"{field}.epochs: {self.epochs} of {examples:,} training examples in batches of "
                f"{batch_size} are only {steps} steps; the minimum is {MIN_STEPS}"
            ]
        return []


class Distillation(StrictModel):
    """Learning from the predictions of a teacher beside the labels (Hinton et al. 2015, arXiv
    1503.02531). The teacher is the whole checkpoint, trained at the largest budget of the space."""

    temperature: Temperature = 2.0
    """By which logits are divided: higher ones show more of the teacher's doubts."""
    weight: Weight = 0.5
    """Part of the loss that is the divergence from the teacher; the rest is that of the labels."""


class RecoveryDistillation(StrictModel):
    """Recovery from the predictions of the model before compression (Hinton et al. 2015, arXiv
    1503.02531), by default from nothing else, as Minitron does (Muralidharan et al. 2024, arXiv
    2407.14679)."""

    temperature: Temperature = 1.0
    """By which logits are divided."""
    weight: Weight = 1.0
    """Part of the loss that is the divergence from the model before compression; the rest is the
    cross-entropy of the labels."""


class Training(StrictModel):
    """Training of every model; the budget is a dimension of the space."""

    batch_size: Count = 32
    """Sequences in a step."""
    learning_rate: PositiveNumber = 2e-3
    """Peak AdamW learning rate of a model of width 128 and depth 2. Other sizes get it times the
    factors of CompleteP (arXiv 2505.01618), so that one value suits all."""
    recovery_learning_rate: PositiveNumber = 1e-3
    """The same for recovery after pruning."""
    recovery_distillation: RecoveryDistillation | None = None
    """How recovery learns from the model before compression; without it, from the data alone."""
    recovery_start: RecoveryStart = "end"
    """Where recovery starts: at the ``end`` of training, or before its ``last-stage`` (the decay of
    the budget; fine-tuning, where that follows), which it then replaces, with the learning rate of
    that stage. The model before compression is trained all the same, so both take as long."""
    warmup_fraction: ProperFraction = 0.1
    """Fraction of the *smallest* budget of the space in which the learning rate rises from zero.
    Not of each budget: all budgets share one path, on which the warm-up has one length."""
    decay_fraction: ProperFraction = 0.2
    """Fraction of the budget, at its end, in which the learning rate falls to zero."""
    dropout: Fraction = 0.0
    """Dropout of embeddings, attention and layers while the budget is spent; by default 0.1 for
    translation, summarisation and images, whose budgets are many passes over their data, and 0 for
    language models. A checkpoint keeps its own."""
    fine_tuning: FineTuning | None = None
    """Fine-tuning after the budget (classification, regression, token-classification), where it is
    ``{}`` by default."""
    distillation: Distillation | None = None
    """How smaller models learn from the whole checkpoint (``model`` only); without it, from the
    labels alone."""
    weight_decay: NonNegativeNumber = 0.01
    """Decoupled weight decay of the matrices."""
    gradient_clip: PositiveNumber = 1.0
    """Largest norm of the gradient."""
    checkpoint_seconds: PositiveNumber = 30.0
    """Longest training between two checkpoints, which a crash may lose. Where storing one takes
    more than a second, they are at least 20 times as far apart as that takes."""
    micro_batch_size: Count | None = None
    """Most sequences that a worker computes at once; the gradients of a batch add up to those of
    the whole. By default a batch is divided where its predicted memory exceeds that of the GPU, or
    ``resources.memory_gb``, or the part of the machine's memory that the CPUs of a trial are of
    its cores. With dropout, parts drop other activations than the whole batch."""
    activation_checkpointing: bool | Literal["auto"] = "auto"
    """Whether layers are computed again in the backward pass, which keeps only what enters them, in
    about a third more time; ``auto`` does so where the predicted memory needs it."""

    def warmup_steps(self, fewest_steps: int) -> int:
        """Steps of the warm-up, where the smallest budget buys ``fewest_steps``; at least one."""
        return max(1, int(self.warmup_fraction * fewest_steps))

    def with_values(self, values: Mapping[str, float]) -> Training:
        """The same with other values of some fields, by name, such as ``fine_tuning.dropout``."""
        changed = self
        for name, value in values.items():
            section, _, field = name.rpartition(".")
            update: dict[str, Any] = {field: value}
            if section:
                update = {section: getattr(changed, section).model_copy(update=update)}
            changed = changed.model_copy(update=update)
        return changed

    def faults_from_checkpoint(self) -> Iterator[str]:
        """Fields that have no effect where models start from a checkpoint."""
        if self.fine_tuning is not None:
            yield "training.fine_tuning: the budget of a search from a checkpoint is fine-tuning"
        if self.dropout:
            yield (
                f"training.dropout: {self.dropout:g}, but a checkpoint keeps its own dropout; "
                "leave it out"
            )

    def faults(self) -> list[str]:
        """Fields that contradict each other: what is given, and what is allowed."""
        faults, stable = [], 1.0 - self.decay_fraction
        if self.warmup_fraction > stable:
            faults.append(
                f"training.warmup_fraction: {self.warmup_fraction:g} of the smallest budget is "
                f"more than the {stable:g} that decay_fraction {self.decay_fraction:g} leaves "
                f"before the decay; the maximum is {stable:g}"
            )
        settings = self.fine_tuning
        if settings and settings.r_drop and not (settings.dropout or settings.token_dropout):
            faults.append(
                f"training.fine_tuning.r_drop: {settings.r_drop:g} compares two passes that are "
                "the same without dropout; give dropout or token_dropout, or set it to 0"
            )
        return faults
