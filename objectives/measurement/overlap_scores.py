"""Scores of written texts by what they have in common with texts that people wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from objectives.measurement.example_scores import score_of_examples
from objectives.measurement.score import BOOTSTRAP_SAMPLES, Score
from spaces.cost.metric import MetricName

ROUGE_TYPES = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}
"""The names of the package rouge-score."""

SINGLE = r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
"""Characters of scripts without spaces between words (Thai, Lao, Japanese, Chinese)."""
WORD = re.compile(rf"{SINGLE}|(?:(?!{SINGLE})[^\W_])+")


class Words:
    """The words of a text in any script, as rouge-score's own tokenizer gives them for English.

    That one drops all letters but a to z, so that a perfect Russian or Chinese summary has a score
    of 0. Where a script has no spaces between words, each character is one.
    """

    def tokenize(self, text: str) -> list[str]:
        """The words in lower case."""
        return WORD.findall(text.lower())


def overlap_score(
    texts: Sequence[str], references: Sequence[str], metric: MetricName, loss: float
) -> Score:
    """The score of written texts with its 95 % interval.

    Args:
        references: What a person wrote in place of each text.
        metric: ``bleu`` or ``chrf`` of all texts together (sacreBLEU's defaults, Post 2018, arXiv
            1804.08771), whose interval is that of a bootstrap (Koehn 2004); or ``rouge-1``,
            ``rouge-2`` or ``rouge-l``, the mean F-measure of the texts (Lin 2004, without
            stemming), whose interval is that of a mean.
        loss: Mean cross-entropy in nats.
    """
    if metric in ROUGE_TYPES:
        return _rouge_score(texts, references, ROUGE_TYPES[metric], loss)
    result = _scorer(metric).corpus_score(texts, [references], n_bootstrap=BOOTSTRAP_SAMPLES)
    return _within_range(float(result.score), float(result._ci), len(references), loss)


def _scorer(metric: MetricName) -> Any:
    """sacreBLEU's scorer."""
    from sacrebleu.metrics import BLEU, CHRF

    class Chrf(CHRF):  # type: ignore[misc]
        def _compute_score_from_stats(self, stats: Any) -> Any:
            score = super()._compute_score_from_stats(stats)
            # sacreBLEU cannot take the mean of a bootstrap in which only some scores are float32.
            score.score = float(score.score)
            return score

    return {"bleu": BLEU, "chrf": Chrf}[metric]()


def _rouge_score(texts: Sequence[str], references: Sequence[str], kind: str, loss: float) -> Score:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], tokenizer=Words())
    pairs = zip(references, texts, strict=True)
    each = np.array([100.0 * scorer.score(*pair)[kind].fmeasure for pair in pairs])
    found = score_of_examples(kind, each, np.arange(len(each)), loss)
    return _within_range(found.value, found.high - found.value, len(each), loss)


def _within_range(score: float, half: float, examples: int, loss: float) -> Score:
    value = min(100.0, score)
    return Score(value, max(0.0, value - half), min(100.0, value + half), examples, loss)
