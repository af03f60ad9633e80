"""Intervals of the scores of written texts (``objectives.predictor.overlap``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from objectives.measurement.intervals import Groups
from objectives.measurement.score import BOOTSTRAP_SAMPLES, Score
from objectives.measurement.scores.examples import score_of_examples
from objectives.predictor.overlap import ROUGE_TYPES, corpus_scorer, overlap, rouge_scores
from spaces.cost.metric import MetricName


def overlap_score(
    texts: Sequence[str],
    references: Sequence[str],
    metric: MetricName,
    loss: float,
    tokenizer: str = "13a",
    groups: Groups | None = None,
) -> Score:
    """The score of written texts with its 95 % interval.

    Args:
        references: What a person wrote in place of each text.
        metric: ``bleu`` or ``chrf`` of all texts together (sacreBLEU's, Post 2018, arXiv
            1804.08771), whose interval is that of a bootstrap (Koehn 2004); or ``rouge-1``,
            ``rouge-2`` or ``rouge-l``, the mean F-measure of the texts (Lin 2004, without
            stemming), whose interval is that of a mean.
        loss: Mean cross-entropy in nats.
        tokenizer: What divides texts into the words of BLEU (``bleu_tokenizer``).
        groups: The group of each text, where texts depend on each other: whole groups are drawn in
            a bootstrap.
    """
    if metric in ROUGE_TYPES:
        each = rouge_scores(texts, references, metric)
        found = score_of_examples(
            metric, each, np.arange(len(each)) if groups is None else groups, loss
        )
        return _within_range(found.value, found.high - found.value, len(each), loss)
    scorer = corpus_scorer(metric, tokenizer)
    samples = BOOTSTRAP_SAMPLES if groups is None else 1
    result = scorer.corpus_score(texts, [references], n_bootstrap=samples)
    half = (
        float(result._ci) if groups is None else _half_of_groups(scorer, texts, references, groups)
    )
    score = _within_range(float(result.score), half, len(references), loss)
    details: dict[str, str | float] = {"signature": str(scorer.get_signature())}
    if metric == "bleu":
        details["chrf"] = overlap(texts, references, "chrf")
    return replace(score, details=details)


def _half_of_groups(
    scorer: Any, texts: Sequence[str], references: Sequence[str], groups: Groups
) -> float:
    """Half of the interval of sacreBLEU's score, of a bootstrap that draws whole groups."""
    counts = np.asarray(scorer._extract_corpus_statistics(texts, [references]), dtype=np.int64)
    names, index = np.unique(groups, return_inverse=True)
    of_groups = np.zeros((len(names), counts.shape[1]), dtype=np.int64)
    np.add.at(of_groups, index, counts)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(names), size=(BOOTSTRAP_SAMPLES, len(names)))
    scores = [scorer._compute_score_from_stats(of_groups[each].sum(0).tolist()) for each in drawn]
    low, high = np.quantile([float(each.score) for each in scores], (0.025, 0.975))
    return float(high - low) / 2.0


def score_of_each(
    texts: Sequence[str], references: Sequence[str], metric: MetricName
) -> tuple[MetricName, Sequence[float]]:
    """The score of each text alone, and its metric: chrF where that of all together is BLEU, which
    is 0 for most sentences with a mistake."""
    if metric in ROUGE_TYPES:
        return metric, rouge_scores(texts, references, metric).tolist()
    scorer = corpus_scorer("chrf", "13a")
    pairs = zip(texts, references, strict=True)
    return "chrf", [float(scorer.sentence_score(text, [right]).score) for text, right in pairs]


def _within_range(score: float, half: float, examples: int, loss: float) -> Score:
    value = min(100.0, score)
    return Score(value, max(0.0, value - half), min(100.0, value + half), examples, loss)
