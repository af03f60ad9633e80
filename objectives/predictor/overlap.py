"""Scores of written texts by what they have in common with texts that people wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SINGLE = r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
"""Characters of scripts without spaces between words (Thai, Lao, Japanese, Chinese)."""
WORD = re.compile(rf"{SINGLE}|(?:(?!{SINGLE})[^\W_])+")
ROUGE_TYPES = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}
"""The names of the package rouge-score."""


class Words:
    """The words of a text in any script, as rouge-score's own tokenizer gives them for English.

    That one drops all letters but a to z, so that a perfect Russian or Chinese summary has a score
    of 0. Where a script has no spaces between words, each character is one.
    """

    def tokenize(self, text: str) -> list[str]:
        """The words in lower case."""
        return WORD.findall(text.lower())


def rouge_scores(
    texts: Sequence[str], references: Sequence[str], metric: str
) -> npt.NDArray[np.float64]:
    """The F-measure of each text, from 0 to 100, ``(texts,)``: ``rouge-1``, ``rouge-2`` or
    ``rouge-l``."""
    from rouge_score.rouge_scorer import RougeScorer

    kind = ROUGE_TYPES[metric]
    scorer = RougeScorer([kind], tokenizer=Words())
    pairs = zip(references, texts, strict=True)
    return np.array([100.0 * scorer.score(*each)[kind].fmeasure for each in pairs])


def corpus_scorer(metric: str, tokenizer: str) -> Any:
    """sacreBLEU's scorer of all texts together: ``bleu`` or ``chrf``.

    Args:
        tokenizer: What divides texts into the words of BLEU, by its name in sacreBLEU.
    """
    from sacrebleu.metrics import BLEU, CHRF

    class Chrf(CHRF):  # type: ignore[misc]
        def _compute_score_from_stats(self, stats: Any) -> Any:
            score = super()._compute_score_from_stats(stats)
            # sacreBLEU cannot take the mean of a bootstrap in which only some scores are float32.
            score.score = float(score.score)
            return score

    return BLEU(tokenize=tokenizer) if metric == "bleu" else Chrf()


def overlap(
    texts: Sequence[str], references: Sequence[str], metric: str, tokenizer: str = "13a"
) -> float:
    """The score of texts, from 0 to 100: ``bleu``, ``chrf``, ``rouge-1``, ``rouge-2`` or
    ``rouge-l``; other arguments as of ``corpus_scorer``."""
    if metric in ROUGE_TYPES:
        score = float(np.mean(rouge_scores(texts, references, metric)))
    else:
        score = float(corpus_scorer(metric, tokenizer).corpus_score(texts, [references]).score)
    return min(100.0, score)
