"""References of classifiers: the majority class, and logistic regression (scikit-learn)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch

from objectives.data.encoding import Tokens
from objectives.data.prepared_data import LabelledImages, LabelledTexts
from objectives.measurement.score import Predict, Score
from objectives.references.reference import Reference
from objectives.references.token_counts import ngram_bytes, token_counts

NGRAMS = (2_000, 20_000)
"""Most n-grams that a logistic regression reads: one reference for each."""
FLOAT_BYTES = 4
MOST_WEIGHTS = 5_000_000
MOST_PIXEL_VALUES = 20_000_000
"""Of training images in memory; of larger data the first images are used."""
FOLDS = 3
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Candidates for C, the inverse of the strength of regularisation."""
ITERATIONS = 200


ScoreOf = Callable[[Predict, str], Score]
"""The score of what a function predicts for the batches of a split."""


def text_references(
    texts: LabelledTexts, vocabulary: int, classes: int, score: ScoreOf
) -> Iterator[Reference]:
    """References of a classifier of texts.

    Args:
        texts: Those of the training split.
        vocabulary: Size of the vocabulary.
        score: From the logits ``(batch, classes)`` of a batch to the score of a split.
    """
    yield majority_class(texts.labels, classes, score)
    for most in NGRAMS:
        found, ngrams = _of_token_counts(texts, vocabulary, classes, most, score)
        yield found
        if ngrams < most:
            # It has read all that there are.
            return


def image_references(images: LabelledImages, classes: int, score: ScoreOf) -> Iterator[Reference]:
    """References of a classifier of images; arguments as those of ``text_references``."""
    yield majority_class(images.labels, classes, score)
    yield pixel_values(images, score)


def majority_class(labels: Tokens, classes: int, score: ScoreOf) -> Reference:
    """The most frequent class of the training split for every input."""
    counts = np.bincount(labels, minlength=classes) + 1.0
    logs = torch.from_numpy(np.log(counts / counts.sum()))
    return Reference(
        "majority class",
        "the most frequent class of train for every input; one number of 4 bytes",
        FLOAT_BYTES,
        partial(score, lambda batch: logs.expand(len(batch["labels"]), -1)),
    )


def _of_token_counts(
    texts: LabelledTexts, vocabulary: int, classes: int, most: int, score: ScoreOf
) -> tuple[Reference, int]:
    """Logistic regression on TF-IDF of at most so many token n-grams, and how many there are."""
    counts = token_counts(max(1, min(most, MOST_WEIGHTS // classes)), len(texts.labels))
    model, chosen = _regression(counts.fit_transform(texts.tokens), texts.labels, texts.groups)
    ngrams = len(counts.vocabulary_)
    key = ngram_bytes(vocabulary)
    reference = Reference(
        f"logistic regression, {ngrams:,} n-grams",
        f"on TF-IDF of the {ngrams:,} most frequent unigrams and bigrams of tokens; {chosen}; "
        f"{key} bytes for the key of each, and 4 for its IDF and for each weight",
        ngrams * (key + FLOAT_BYTES) + FLOAT_BYTES * _weights(model),
        partial(score, lambda batch: _logits(model, counts.transform(batch["input_ids"].numpy()))),
    )
    return reference, ngrams


def pixel_values(images: LabelledImages, score: ScoreOf) -> Reference:
    """Logistic regression on pixels."""
    pixels, count = images.pixels, len(images.labels)
    used = min(count, max(1, MOST_PIXEL_VALUES // pixels[0].size))
    values = pixels[:used].reshape(used, -1).astype(np.float32) / 127.5 - 1.0
    model, chosen = _regression(values, images.labels[:used], np.arange(used))
    part = "" if used == count else f", fitted to {used:,} of {count:,} images"
    return Reference(
        "logistic regression on pixels",
        f"on {values.shape[1]:,} values{part}; {chosen}; 4 bytes for each weight",
        FLOAT_BYTES * _weights(model),
        partial(score, lambda batch: _logits(model, batch["pixel_values"].flatten(1).numpy())),
    )


def _regression(features: Any, labels: Tokens, groups: Any) -> tuple[Any, str]:
    """A logistic regression with its regularisation chosen by cross-validation, and how.

    Args:
        groups: The group of each example: it is on one side of a split.
    """
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    splits = _splits(labels, groups)
    if not splits:
        model = LogisticRegression(max_iter=ITERATIONS)
        return model.fit(
            features, labels
        ), "C 1, as there are too few examples or groups to choose it"
    model = LogisticRegressionCV(
        Cs=STRENGTHS,
        cv=splits,
        l1_ratios=(0.0,),
        max_iter=ITERATIONS,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
    )
    with catch_warnings():
        # 200 iterations are enough for a baseline.
        simplefilter("ignore")
        model.fit(features, labels)
    return model, f"C {model.C_:g} by {FOLDS}-fold cross-validation on train"


def _splits(labels: Tokens, groups: Any) -> list[tuple[Any, Any]]:
    """Rows to fit and to score in each fold; none where a part would lack a class."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    count = len(np.unique(groups))
    if min(count, *np.unique(labels, return_counts=True)[1]) < FOLDS:
        return []
    if count < len(labels):
        splits = list(StratifiedGroupKFold(FOLDS).split(labels, labels, groups))
    else:
        splits = list(StratifiedKFold(FOLDS).split(labels, labels))
    present = {len(np.unique(labels[rows])) for split in splits for rows in split}
    return splits if present == {len(np.unique(labels))} else []


def _weights(model: Any) -> int:
    return int(model.coef_.size + model.intercept_.size)


def _logits(model: Any, features: Any) -> torch.Tensor:
    """Logarithms of the probabilities of classes, ``(batch, classes)``."""
    return torch.from_numpy(model.predict_log_proba(features))
