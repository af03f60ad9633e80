"""Intervals of the scores of written texts (``objectives.predictor.overlap``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

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
    """
    if metric in ROUGE_TYPES:
        each = rouge_scores(texts, references, metric)
        found = score_of_examples(metric, each, np.arange(len(each)), loss)
        return _within_range(found.value, found.high - found.value, len(each), loss)
    scorer = corpus_scorer(metric, tokenizer)
    result = scorer.corpus_score(texts, [references], n_bootstrap=BOOTSTRAP_SAMPLES)
    score = _within_range(float(result.score), float(result._ci), len(references), loss)
    details: dict[str, str | float] = {"signature": str(scorer.get_signature())}
    if metric == "bleu":
        details["chrf"] = overlap(texts, references, "chrf")
    return replace(score, details=details)


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
