"""Masked tokens predicted from the tokens on both sides, by a bigram model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from objectives.data.batches import Batch
from objectives.data.encoding import MASK, SPECIAL_TOKENS, Tokens
from objectives.measurement.score import Predict, Score
from objectives.references.ngrams import SMOOTHING, Ids, NgramModel, Reals, ngram_reference
from objectives.references.reference import Reference

CELLS = 2_000_000
"""Probabilities in memory at a time."""


def masked_references(
    stream: Tokens, vocabulary: int, score: Callable[[Predict, str], Score]
) -> Iterator[Reference]:
    """A unigram model, and a bigram model of both neighbours, of a stream of training tokens."""
    for order, reads in ((1, SMOOTHING), (2, f"{SMOOTHING}, on the tokens of both sides")):
        model = NgramModel.fit(stream, vocabulary, order)
        yield ngram_reference(model, reads, MaskedBigrams(model).losses, score)


@dataclass(frozen=True)
class MaskedBigrams:
    """``P(w | left, right)`` proportional to ``P(w | left) P(right | w)``, with a bigram model.

    What a model sees at a predicted position counts too, by Bayes' rule: a token other than the
    mask is as likely the true one as a random one (Devlin et al. 2019, section 3.1). With
    a unigram model, neighbours do not count.
    """

    model: NgramModel

    def losses(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the ``targets`` at the ``positions`` of a batch, in nats."""
        inputs, positions = batch["input_ids"].numpy(), batch["positions"].numpy()
        targets = batch["targets"].numpy()
        visible, column = inputs.ravel(), positions % inputs.shape[1]
        # The start and the end token around a window are none of the text.
        has_left, has_right = column > 1, column < inputs.shape[1] - 2
        left = np.where(has_left, visible[positions - 1], MASK)
        right = np.where(has_right, visible[np.minimum(positions + 1, visible.size - 1)], MASK)
        losses = np.empty(len(positions))
        step = max(1, CELLS // self.model.vocabulary)
        for start in range(0, len(positions), step):
            part = slice(start, start + step)
            found = self.posterior(left[part], visible[positions[part]], right[part])
            losses[part] = -np.log(np.take_along_axis(found, targets[part, None], axis=1)[:, 0])
        return torch.from_numpy(losses)

    def posterior(self, left: Ids, visible: Ids, right: Ids) -> Reals:
        """Probability of each token of the vocabulary at some positions.

        Args:
            left: The token before each position; the mask where it is not known.
            visible: What the model sees at the position.
            right: The token after it.

        Returns:
            ``(positions, vocabulary)``.
        """
        # The text has no masks, so the model says nothing about what follows them.
        found: Reals = self._following[left].toarray() + np.outer(
            self._back_offs[left], self._unigrams
        )
        after = self._preceding[right].toarray() + np.outer(self._unigrams[right], self._back_offs)
        found *= np.where((right == MASK)[:, None], 1.0, after)
        (shown,) = np.nonzero(visible != MASK)
        found[shown, visible[shown]] *= 1.0 + self.model.vocabulary - len(SPECIAL_TOKENS)
        found /= found.sum(axis=1, keepdims=True)
        return found

    @cached_property
    def _unigrams(self) -> Reals:
        level, vocabulary = self.model.levels[0], self.model.vocabulary
        found = np.full(vocabulary, level.back_offs[0] / vocabulary)
        found[level.grams] += level.probabilities
        return found

    @cached_property
    def _back_offs(self) -> Reals:
        """Weight of the unigrams after each token."""
        found = np.ones(self.model.vocabulary)
        for level in self.model.levels[1:]:
            found[level.contexts] = level.back_offs
        return found

    @cached_property
    def _following(self) -> Any:
        """Discounted frequencies of bigrams: a sparse matrix ``(first, second)``."""
        from scipy.sparse import csr_matrix

        shape = (self.model.vocabulary, self.model.vocabulary)
        if len(self.model.levels) == 1:
            return csr_matrix(shape)
        level = self.model.levels[1]
        return csr_matrix((level.probabilities, np.divmod(level.grams, shape[0])), shape=shape)

    @cached_property
    def _preceding(self) -> Any:
        return self._following.T.tocsr()
