"""The dimensions of a search, as a search file states them."""

from __future__ import annotations

from typing import Literal

from spaces.cost.compression import Pruning, Quantisation
from spaces.file.dimensions import (
    Budgets,
    Choices,
    Fractions,
    Integers,
    Numbers,
    Prunings,
    Quantisations,
    Recoveries,
    StrictModel,
)


class Space(StrictModel):
    """The dimensions that are searched. A single value fixes a dimension."""

    depth: Integers
    """Layers; of the encoder, where there is a decoder too."""
    decoder_depth: Integers | None = None
    """Layers of the decoder (translation); without it, as many as the encoder's."""
    width: Integers
    """Hidden size."""
    heads: Integers | None = None
    """Attention heads; without it, one per 32 of width."""
    feed_forward: Integers | None = None
    """Feed-forward width; without it, four times the width."""
    budget: Budgets
    """Training (before fine-tuning, where there is any), in ``steps``, ``tokens`` or training
    ``flops``."""
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
