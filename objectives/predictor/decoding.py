"""Decoding with a model that has no cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays import log_softmax

Candidate = tuple[float, list[int]]
"""The sum of its tokens' log probabilities (per token, when it has ended), and its tokens."""


def decode(
    next_logits: Callable[[Any], Any],
    prompt: list[int],
    *,
    forced: Sequence[int] = (),
    beams: int,
    length: int,
    end: int,
) -> list[int]:
    """Beam search, or greedy search with one beam, as ``generate`` of transformers does it.

    Args:
        next_logits: Logits ``(beams, vocabulary)`` of the token after int64 ``(beams, tokens)``.
        forced: Tokens that every text begins with; they count to its length.
        length: Most tokens, the prompt included.
        end: The token that ends a text.

    Returns:
        The tokens with the prompt before them.
    """
    running: list[Candidate] = [(0.0, [*prompt, *forced])]
    finished: list[Candidate] = []
    for count in range(1 + len(forced), length - len(prompt) + 1):
        candidates = _continuations(next_logits, running, 2 * beams)
        ended = [tokens[-1] == end or len(tokens) == length for _, tokens in candidates]
        # Candidates beyond the beams are there to go on where the others end.
        top = zip(candidates[:beams], ended, strict=False)
        finished += [(score / count, tokens) for (score, tokens), has_ended in top if has_ended]
        finished = sorted(finished, key=lambda each: -each[0])[:beams]
        pairs = zip(candidates, ended, strict=True)
        running = [each for each, has_ended in pairs if not has_ended][:beams]
        is_full = len(finished) == beams
        if not running or (is_full and (beams == 1 or running[0][0] / count <= finished[-1][0])):
            break
    return finished[0][1] if finished else prompt


def _continuations(
    next_logits: Callable[[Any], Any], running: list[Candidate], count: int
) -> list[Candidate]:
    """The most probable texts that are a token longer, the best first."""
    logits = next_logits(np.asarray([tokens for _, tokens in running], dtype=np.int64))
    scores = log_softmax(logits) + np.asarray([[each] for each, _ in running], dtype=np.float32)
    best = np.argsort(-scores, axis=None, kind="stable")[:count]
    return [
        (float(scores[row, token]), [*running[row][1], int(token)])
        for row, token in zip(*np.unravel_index(best, scores.shape), strict=True)
    ]
