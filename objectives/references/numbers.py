"""References of regression: the training mean, and ridge regression (scikit-learn)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from objectives.data.prepared_data import LabelledTexts
from objectives.references.classifiers import FLOAT_BYTES, FOLDS, NGRAMS, ScoreOf
from objectives.references.reference import Reference
from objectives.references.token_counts import ngram_bytes, token_counts
from spaces.cost.metric import MetricName

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Candidates for alpha, the strength of regularisation."""


def number_references(
    texts: LabelledTexts, vocabulary: int, metric: MetricName, score: ScoreOf
) -> Iterator[Reference]:
    """References of a regression on texts.

    Args:
        texts: Those of the training split, with standardised labels.
        vocabulary: Size of the vocabulary.
        metric: What models are scored by: a constant has no correlation with anything.
        score: From the outputs ``(batch, 1)`` for a batch to the score of a split.
    """
    if metric == "rmse":
        yield Reference(
            "training mean",
            "the mean label of train for every input; one number of 4 bytes",
            FLOAT_BYTES,
            partial(score, lambda batch: torch.zeros(len(batch["labels"]), 1)),
        )
    for most in NGRAMS:
        counts = token_counts(most, len(texts.labels))
        model, chosen = _ridge(counts.fit_transform(texts.tokens), texts)
        ngrams = len(counts.vocabulary_)
        yield Reference(
            f"ridge regression, {ngrams:,} n-grams",
            f"on TF-IDF of the {ngrams:,} most frequent unigrams and bigrams of tokens; {chosen}; "
            f"{ngram_bytes(vocabulary)} bytes for the key of each, and 4 for its IDF and for its "
            "weight",
            ngrams * (ngram_bytes(vocabulary) + 2 * FLOAT_BYTES) + FLOAT_BYTES,
            partial(score, partial(_outputs, model, counts)),
        )
        if ngrams < most:
            # It has read all that there are.
            return


def _outputs(model: Any, counts: Any, batch: Any) -> torch.Tensor:
    features = counts.transform(batch["input_ids"].numpy())
    return torch.from_numpy(model.predict(features))[:, None]


def _ridge(features: Any, texts: LabelledTexts) -> tuple[Any, str]:
    """A ridge regression with its penalty chosen by cross-validation, and how; a group is on one
    side of a split."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    labels = np.asarray(texts.labels, dtype=np.float64)
    if len(np.unique(texts.groups)) < FOLDS:
        return Ridge().fit(features, labels), "alpha 1, as there are too few groups to choose it"
    search = GridSearchCV(
        Ridge(), {"alpha": PENALTIES}, cv=GroupKFold(FOLDS), scoring="neg_mean_squared_error"
    )
    search.fit(features, labels, groups=texts.groups)
    alpha = search.best_params_["alpha"]
    return search.best_estimator_, f"alpha {alpha:g} by {FOLDS}-fold cross-validation on train"
