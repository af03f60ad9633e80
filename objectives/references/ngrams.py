"""N-gram language models with interpolated, modified Kneser-Ney smoothing.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from objectives.data.batches import Batch
from objectives.data.encoding import Tokens
from objectives.measurement.score import Predict, Score
from objectives.references.reference import Reference

Ids = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

ORDERS = ("unigram", "bigram", "trigram")
SMOOTHING = "interpolated, modified Kneser-Ney smoothing"
MOST_TOKENS = 20_000_000
"""Of running text that is counted; of more, the first ones are."""
PROBABILITY_BYTES, BACK_OFF_BYTES, OFFSET_BYTES = 4, 4, 4
FALLBACK_DISCOUNT = 0.5
"""Where the text is too short to estimate discounts."""


@dataclass(frozen=True)
class Level:
    """The n-grams of one length: ``P(w | h) = probability(h w) + back_off(h) P(w | h')``.

    Args:
        grams: Sorted keys of n-grams; the key of ``h w`` is that of ``h`` times the vocabulary's
            size plus ``w``.
        probabilities: Discounted relative frequency of each.
        contexts: Sorted keys of the first n - 1 tokens of them.
        back_offs: Weight of the shorter context at each context; 1 at all others.
    """

    grams: Ids
    probabilities: Reals
    contexts: Ids
    back_offs: Reals

    def interpolate(self, contexts: Ids, tokens: Ids, shorter: Reals, vocabulary: int) -> Reals:
        """Probabilities of tokens after contexts, given those after the shorter contexts.

        Args:
            contexts: Keys; negative where the context is not known.
        """
        grams = np.where(contexts < 0, -1, contexts * vocabulary + tokens)
        own = _values(self.grams, self.probabilities, grams, missing=0.0)
        return own + _values(self.contexts, self.back_offs, contexts, missing=1.0) * shorter


@dataclass(frozen=True)
class NgramModel:
    """An n-gram model.

    Args:
        levels: Of n-grams of one token, two tokens, and so on.
        counted: Tokens of the text that it was fitted to.
    """

    levels: tuple[Level, ...]
    vocabulary: int
    counted: int

    @classmethod
    def fit(cls, stream: Tokens, vocabulary: int, order: int) -> NgramModel:
        """Count the n-grams of a stream of tokens, of at most ``order`` tokens each."""
        tokens = np.asarray(stream[:MOST_TOKENS], dtype=np.int64)
        keys = np.zeros(len(tokens) - order + 1, dtype=np.int64)
        for place in range(order):
            keys = keys * vocabulary + tokens[place : len(tokens) - order + 1 + place]
        grams, counts = np.unique(keys, return_counts=True)
        levels = [_level(grams, counts, vocabulary)]
        for length in range(order - 1, 0, -1):
            # Of shorter n-grams, the count is that of different tokens before them.
            grams, counts = np.unique(grams % vocabulary**length, return_counts=True)
            levels.insert(0, _level(grams, counts, vocabulary))
        return cls(tuple(levels), vocabulary, len(tokens))

    @property
    def ngrams(self) -> int:
        """N-grams of all lengths."""
        return sum(len(level.grams) for level in self.levels)

    @property
    def size_bytes(self) -> int:
        """Bytes of a trie: of each n-gram its last token and its probability, and of each context
        its back-off weight and the offset of what follows."""
        gram = bytes_per_token(self.vocabulary) + PROBABILITY_BYTES
        context = BACK_OFF_BYTES + OFFSET_BYTES
        return sum(len(e.grams) * gram + len(e.contexts) * context for e in self.levels)

    def probabilities(self, windows: Ids) -> Reals:
        """Probability of each token of windows but the first, from the tokens before it there.

        Args:
            windows: ``(windows, tokens)``.

        Returns:
            ``(windows, tokens - 1)``.
        """
        targets = windows[:, 1:]
        found = np.full(targets.shape, 1.0 / self.vocabulary)
        contexts = np.zeros(targets.shape, dtype=np.int64)
        for length, level in enumerate(self.levels):
            if length:
                # The tokens before the window are not known.
                before = np.full(targets.shape, -1, dtype=np.int64)
                before[:, length - 1 :] = windows[:, : targets.shape[1] - length + 1]
                known = (before >= 0) & (contexts >= 0)
                place = self.vocabulary ** (length - 1)
                contexts = np.where(known, contexts + before * place, -1)
            found = level.interpolate(contexts, targets, found, self.vocabulary)
        return found

    def losses(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy of the ``targets`` that follow ``input_ids``, in nats, of their shape."""
        windows = torch.cat([batch["input_ids"], batch["targets"][:, -1:]], dim=1)
        return torch.from_numpy(-np.log(self.probabilities(windows.numpy())))


def ngram_reference(
    model: NgramModel, smoothing: str, losses: Predict, score: Callable[[Predict, str], Score]
) -> Reference:
    """An n-gram model as a reference.

    Args:
        smoothing: How it predicts.
        losses: From a batch to the losses of its predicted tokens.
        score: From such losses to the score of a split.
    """
    order = len(model.levels)
    return Reference(
        f"{ORDERS[order - 1]} model",
        f"{model.ngrams:,} n-grams of {model.counted:,} tokens, {smoothing}; a trie with "
        f"{bytes_per_token(model.vocabulary)} bytes for the token of each and 4 for its "
        "probability, and 8 for each context (back-off weight and offset)",
        model.size_bytes,
        partial(score, losses),
    )


def next_token_references(
    stream: Tokens, vocabulary: int, score: Callable[[Predict, str], Score]
) -> Iterator[Reference]:
    """Unigram, bigram and trigram models of a stream of training tokens."""
    for order in range(1, 4):
        model = NgramModel.fit(stream, vocabulary, order)
        yield ngram_reference(model, SMOOTHING, model.losses, score)


def bytes_per_token(vocabulary: int) -> int:
    """Bytes of the number of a token."""
    return 2 if vocabulary <= 2**16 else 4


def _level(grams: Ids, counts: Ids, vocabulary: int) -> Level:
    discounts = _discounts(counts)
    steps = np.minimum(counts, 3)
    context_of = grams // vocabulary
    contexts, first = np.unique(context_of, return_index=True)
    totals = np.add.reduceat(counts, first)
    saved = np.add.reduceat(discounts[steps], first)
    of_gram = np.repeat(totals, np.diff([*first, len(grams)]))
    return Level(grams, (counts - discounts[steps]) / of_gram, contexts, saved / totals)


def _discounts(counts: Ids) -> Reals:
    """What is taken from n-grams counted zero times, once, twice, and three times or more."""
    once, twice, thrice, four = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (once and twice and thrice and four):
        return np.asarray([0.0, *[FALLBACK_DISCOUNT] * 3])
    y = once / (once + 2 * twice)
    found = [1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice]
    return np.asarray([0.0, *(np.clip(d, 0.05, k) for k, d in enumerate(found, start=1))])


def _values(keys: Ids, values: Reals, wanted: Ids, *, missing: float) -> Reals:
    """The value of each wanted key among sorted ones."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], missing)
