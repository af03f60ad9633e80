"""Scores of tagged words with their intervals: F1 of whole spans, and accuracy and macro-F1 of
single words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from objectives.data.batches import Batch
from objectives.data.encoding import IGNORED
from objectives.measurement.intervals import Floats, Groups, half_of_jackknife
from objectives.measurement.score import Predict, Score
from objectives.measurement.scores.classes import score_of_classes
from objectives.predictor.words import span_counts, span_f1
from objectives.store import heartbeat
from spaces.cost.metric import MetricName

SPAN_TAG = re.compile(r"O|[BIES]-.+")
"""Outside of spans; or the beginning, the inside, the end or the whole of one, and its kind."""


def score_tags(
    predict: Predict,
    batches: Iterable[Batch],
    groups: Groups,
    metric: MetricName,
    names: Sequence[str],
) -> Score:
    """Score and cross-entropy of the logits ``(batch, sequence, tags)`` of batches with ``labels``,
    of the tokens that have one.

    Args:
        groups: The group of each sentence, in the order of the batches; its words depend on each
            other.
        metric: ``f1``, ``accuracy``, ``balanced-accuracy`` or ``macro-f1``.
        names: Of the tags.
    """
    predicted: list[npt.NDArray[np.int64]] = []
    wanted: list[npt.NDArray[np.int64]] = []
    words: list[npt.NDArray[np.int64]] = []
    total = 0.0
    with torch.inference_mode():
        for batch in batches:
            heartbeat.beat("scoring")
            outputs = predict(batch)
            labels = batch["labels"].to(outputs.device)
            total += functional.cross_entropy(
                outputs.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
            ).item()
            has_tag = labels != IGNORED
            predicted.append(outputs.argmax(-1)[has_tag].cpu().numpy())
            wanted.append(labels[has_tag].cpu().numpy())
            words.append(has_tag.sum(1).cpu().numpy())
    one, other, lengths = map(np.concatenate, (predicted, wanted, words))
    loss = total / len(other)
    if metric != "f1":
        of_words = np.repeat(groups, lengths)
        return score_of_classes(one, other, of_words, metric, classes=len(names), loss=loss)
    ends = np.cumsum(lengths)[:-1]
    sides = ([[names[tag] for tag in each] for each in np.split(s, ends)] for s in (one, other))
    counts = np.asarray([span_counts(*each) for each in zip(*sides, strict=True)], dtype=np.float64)
    return _score_of_spans(counts, groups, words=len(other), loss=loss)


def _score_of_spans(counts: Floats, groups: Groups, *, words: int, loss: float) -> Score:
    """F1 of the spans of all sentences, with the interval of a jackknife of their groups.

    Args:
        counts: Of each sentence, ``(sentences, 3)``.
    """
    _, index = np.unique(groups, return_inverse=True)
    of_groups = np.stack([np.bincount(index, column) for column in counts.T], axis=1)
    whole = counts.sum(0)
    value, without = float(span_f1(whole)), span_f1(whole - of_groups)
    half = half_of_jackknife(without, len(counts))
    return Score(value, max(0.0, value - half), min(1.0, value + half), words, loss)
