"""The dimensions of a search, the limits of its models, and how their latency is measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from spaces.cost.checkpoint import Checkpoint
from spaces.cost.compression import Pruning, Quantisation, RuntimeName
from spaces.cost.inference_cost import COSTS
from spaces.expression import Expression
from spaces.file.dimensions import (
    Activations,
    Budgets,
    Choices,
    Count,
    Fractions,
    Integers,
    Numbers,
    PositiveNumber,
    Prunings,
    Quantisations,
    Ratios,
    Recoveries,
    StrictModel,
    Switches,
)
from spaces.file.training_space import TrainingSpace

CUT_DOWN = ("depth", "decoder_depth", "width", "feed_forward", "vocabulary")
"""Dimensions of which a checkpoint has no more than its own."""

FIXED_BY_CHECKPOINT = {
    "head_width": "the heads of a checkpoint keep their channels",
    "feed_forward_ratio": "a checkpoint keeps a number of its neurons, space.feed_forward",
    "activation": "a checkpoint keeps its own",
    "tied_embeddings": "a checkpoint keeps its own head",
}
"""Dimensions of models that start from random weights alone, and why."""


class Space(StrictModel):
    """The dimensions that are searched. A single value fixes a dimension."""

    depth: Integers
    """Layers; of the encoder, where there is a decoder too. Of a checkpoint, as many are kept
    (``model.layers``)."""
    decoder_depth: Integers | None = None
    """Layers of the decoder (translation, summarisation); without it, as many as the encoder's, or
    all that a checkpoint has where these are fewer."""
    width: Integers
    """Hidden size. Of a checkpoint, whose hidden size stays, the channels of the heads that are
    kept in each layer: the least important heads, and in the same proportion feed-forward neurons,
    are removed before training."""
    heads: Integers | None = None
    """Attention heads; without it, one per 32 of width."""
    head_width: Integers | None = None
    """Channels of an attention head, in place of ``heads``: a width has as many heads as it has
    times so many channels."""
    feed_forward: Integers | None = None
    """Feed-forward width; without it, four times the width; of a checkpoint, in the proportion of
    its heads."""
    feed_forward_ratio: Ratios | None = None
    """Feed-forward width as a multiple of the width, in place of ``feed_forward``; each product is
    a whole number."""
    activation: Activations | None = None
    """Activations of the feed-forward block, of its gate where it has one (ModernBERT, Llama);
    without it, the family's own."""
    tied_embeddings: Switches | None = None
    """Whether the token embedding gives the logits too (language models); without it, it does."""
    vocabulary: Integers | None = None
    """Pieces of a checkpoint's vocabulary that are kept: the special ones, single characters of the
    training text, and then those that the text uses most. Other words fall back to smaller
    pieces. Without it, all are kept (``model`` only)."""
    budget: Budgets
    """Training (before fine-tuning, where there is any), in ``steps``, ``tokens``, training
    ``flops`` or ``seconds``."""
    training: TrainingSpace | None = None
    """Fields of ``training`` that are dimensions too, such as ``learning_rate``."""
    compression: Literal["search", "fit"] = "search"
    """``search`` makes the five fields below dimensions of their own; ``fit`` takes, for each
    architecture, the mildest of their combinations that meets the constraints."""
    quantisation: Quantisations = Choices[Quantisation](choices=[Quantisation.NONE])
    """Quantisation of linear layers and embeddings."""
    group_size: Integers = Numbers[int](choices=[32])
    """Weights that share one scale."""
    pruning: Prunings = Choices[Pruning](choices=[Pruning.STRUCTURED])
    """Kind of pruning."""
    sparsity: Fractions = Numbers[float](choices=[0.0])
    """Fraction that pruning removes."""
    recovery: Recoveries = Numbers[float](choices=[0.0])
    """Training after pruning and with quantised weights, in the unit of ``budget``."""

    @model_validator(mode="after")
    def _gives_no_size_twice(self) -> Space:
        for one, other in (("heads", "head_width"), ("feed_forward", "feed_forward_ratio")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"give either {one} or {other}")
        return self

    def values(self) -> dict[str, tuple[Any, ...]]:
        """The values of each dimension by its name; those of compression are the last."""
        found: dict[str, tuple[Any, ...]] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if name == "training":
                found |= self.training_values
            elif name != "compression" and field is not None:
                found[name] = field.values
        return found

    @property
    def training_values(self) -> dict[str, tuple[float, ...]]:
        """The values of each field of ``training`` that is searched, by its name."""
        return {} if self.training is None else self.training.values()

    def faults_from_checkpoint(self) -> Iterator[str]:
        """Dimensions that models of a checkpoint have not."""
        if self.heads is not None:
            yield "space.heads: a checkpoint keeps as many heads as space.width has channels for"
        for name, reason in FIXED_BY_CHECKPOINT.items():
            if getattr(self, name) is not None:
                yield f"space.{name}: {reason}; leave it out"
        if "dropout" in self.training_values:
            yield "space.training.dropout: a checkpoint keeps its own dropout; leave it out"

    def kept_of(self, checkpoint: Checkpoint, pieces: int) -> Space:
        """The values that a checkpoint has; a dimension may have none left.

        Args:
            pieces: Those of its tokenizer; 0 without one.
        """

        def has(name: str, value: int) -> bool:
            if name == "vocabulary" and value >= pieces:
                return value == pieces
            return not checkpoint.fault(name, value)

        update = {}
        for name in CUT_DOWN:
            if (dimension := getattr(self, name)) is not None:
                values = [value for value in dimension.values if has(name, value)]
                update[name] = Numbers[int].model_construct(choices=values)
        return self.model_copy(update=update)


def _condition(text: str) -> str:
    Expression(text)
    return text


ConstraintText = Annotated[str, AfterValidator(_condition)]
MOST_EXPRESSIONS = 50


class Constraints(StrictModel):
    """Limits of a model's costs; configurations that would exceed one are not trained."""

    max_size_mb: PositiveNumber | None = None
    """Largest compressed model, in megabytes (10^6 bytes) on disk."""
    max_latency_ms: PositiveNumber | None = None
    """Highest latency (10th percentile, corrected for a slowed machine), in milliseconds, under the
    conditions of ``measurement``."""
    max_flops: PositiveNumber | None = None
    """Most forward FLOPs for one sequence."""
    max_first_token_ms: PositiveNumber | None = None
    """Longest time to the first token that a model writes (10th percentile, corrected for a slowed
    machine), in milliseconds, of ``measurement.prompt_tokens``: causal-lm, translation,
    summarisation."""
    max_token_ms: PositiveNumber | None = None
    """Longest time of each further token, in milliseconds, of the same tasks."""
    max_example_ms: PositiveNumber | None = None
    """Longest time per example in batches of ``measurement.large_batch_size``, in milliseconds:
    1000 divided by the examples per second (throughput)."""
    max_memory_mb: PositiveNumber | None = None
    """Highest peak memory of a process that loads and runs the model, less the runtime's own, in
    megabytes (10^6 bytes)."""
    expressions: list[ConstraintText] = Field(default=[], max_length=MOST_EXPRESSIONS)
    """Conditions that a configuration has to meet before it is trained, such as ``feed_forward >=
    2 * width``, over dimensions and ``size_mb``, ``flops`` and ``parameters``."""

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by the cost that they limit."""
        named = {name: getattr(self, cost.constraint) for name, cost in COSTS.items()}
        return {name: limit for name, limit in named.items() if limit is not None}

    @property
    def conditions(self) -> tuple[Expression, ...]:
        """The expressions."""
        return tuple(map(Expression, self.expressions))


class Measurement(StrictModel):
    """Conditions under which latency is measured, and what runs models."""

    runtime: Annotated[RuntimeName, Field(strict=False)] = RuntimeName.TORCH
    """What runs models: latency, ``size_mb`` and their limits are those of its file."""
    batch_size: Count = 1
    """Sequences in a batch."""
    large_batch_size: Count = 32
    """Examples in a batch of ``example_ms``, the inverse of throughput."""
    prompt_tokens: Count | None = None
    """Tokens that are read before the first one is written, for ``first_token_ms`` and
    ``token_ms``; without it, half of ``data.sequence_length`` for causal-lm, and all of it for a
    text to translate or summarise."""
    new_tokens: Annotated[int, Field(ge=2)] | None = None
    """Tokens that are then written; without it, 16, or as many as there is room for."""
    threads: Count = 1
    """CPU threads."""
    repeats: Annotated[int, Field(ge=10, le=10_000)] = 40
    """Timed calls, each next to one of a reference model; up to eight times as many where other
    programs disturb the measurement."""
