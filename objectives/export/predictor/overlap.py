"""Scores of written texts by what they have in common with texts that people wrote, as tlc's."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

SINGLE = r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
"""Characters of scripts without spaces between words."""
WORD = re.compile(rf"{SINGLE}|(?:(?!{SINGLE})[^\W_])+")
ROUGE_TYPES = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}


class Words:
    """The words of a text in any script."""

    def tokenize(self, text: str) -> list[str]:
        """The words in lower case."""
        return WORD.findall(text.lower())


def overlap(texts: Sequence[str], references: Sequence[str], metric: str) -> float:
    """The score of texts, from 0 to 100: ``bleu``, ``chrf``, ``rouge-1``, ``rouge-2`` or
    ``rouge-l``."""
    if metric in ROUGE_TYPES:
        from rouge_score.rouge_scorer import RougeScorer

        kind = ROUGE_TYPES[metric]
        scorer = RougeScorer([kind], tokenizer=Words())
        pairs = zip(references, texts, strict=True)
        return float(np.mean([100.0 * scorer.score(*each)[kind].fmeasure for each in pairs]))
    from sacrebleu.metrics import BLEU, CHRF

    scorer = {"bleu": BLEU, "chrf": CHRF}[metric]()
    return min(100.0, float(scorer.corpus_score(texts, [references]).score))
