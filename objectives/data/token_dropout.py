"""Token dropout: tokens of training texts that the mask token replaces, anew in each step."""

from __future__ import annotations

import torch

from objectives.data.encoding import MASK, SPECIAL_TOKENS
from objectives.data.row_order import generator

STREAM = 4
"""Of random numbers; further views take the streams after it."""


def drop_tokens(
    input_ids: torch.Tensor, fraction: float, *, seed: int, step: int, view: int = 0
) -> torch.Tensor:
    """Replace tokens of a batch by the mask token, each with the probability ``fraction``.

    Word dropout (Iyyer et al. 2015, section 3.2; "token cutoff" of Shen et al. 2020, arXiv
    2009.13818). Masked language models know the mask token from pre-training. Special tokens stay.

    Args:
        input_ids: ``(batch, sequence)``, of the whole batch, so that its shards are the same
            whatever their number.
        fraction: From 0 to 1.
        view: Another one drops other tokens in the same step.
    """
    if fraction == 0.0:
        return input_ids
    drawn = generator(seed, STREAM + view, step).random(tuple(input_ids.shape)) < fraction
    return input_ids.masked_fill(torch.from_numpy(drawn) & (input_ids >= len(SPECIAL_TOKENS)), MASK)
