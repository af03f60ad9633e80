"""Scores of written texts: BLEU, chrF and ROUGE."""

from __future__ import annotations

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF

from objectives.measurement.overlap_scores import overlap_score
from objectives.predictor.overlap import overlap
from spaces.cost.metric import OF_WRITTEN_TEXTS

WRITTEN = ["the cat sat on the mat", "a dog's house, it is old", "no word", "it rains_again today"]
WANTED = ["the cat was on a mat", "the old house of a dog", "of these", "today it rains again"]
SCRIPTS = ["Кошка сидит на окне", "猫は窓の上に座る", "l’été à la mer", "แมวนั่งบนหน้าต่าง"]


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_of_english_is_that_of_its_package(kind: str) -> None:
    scorer = RougeScorer([kind])
    each = [scorer.score(*pair)[kind].fmeasure for pair in zip(WANTED, WRITTEN, strict=True)]
    score = overlap_score(WRITTEN, WANTED, f"rouge-{kind[-1].lower()}", loss=1.0)
    assert score.value == pytest.approx(100.0 * np.mean(each))
    assert 0.0 <= score.low < score.value < score.high <= 100.0
    assert (score.examples, score.loss) == (4, 1.0)


def test_chrf_is_that_of_sacrebleu() -> None:
    score = overlap_score(WRITTEN, WANTED, "chrf", loss=1.0)
    assert score.value == pytest.approx(CHRF().corpus_score(WRITTEN, [WANTED]).score)
    assert score.low < score.value < score.high


@pytest.mark.parametrize("metric", ["rouge-1", "rouge-2", "rouge-l", "chrf"])
def test_a_perfect_text_has_100_in_any_script(metric: str) -> None:
    assert overlap_score(SCRIPTS, SCRIPTS, metric, loss=0.0).value == pytest.approx(100.0)
    # Where there are no spaces between words, a part of a text has a part of the score.
    part = overlap_score([text[:-4] for text in SCRIPTS], SCRIPTS, metric, loss=0.0)
    assert 30.0 < part.value < 99.0


@pytest.mark.parametrize("metric", OF_WRITTEN_TEXTS)
def test_exported_models_have_the_same_score(metric: str) -> None:
    texts, references = WRITTEN + SCRIPTS, WANTED + SCRIPTS[::-1]
    assert overlap(texts, references, metric) == overlap_score(texts, references, metric, 0.0).value


def test_the_interval_of_rouge_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    # One of four words is right with a probability of 0.5, which is what ROUGE-1 is on average.
    inside = 0
    for _ in range(200):
        right = rng.binomial(4, 0.5, size=60)
        texts = [" ".join("abcd"[:count] + "xyzw"[count:]) for count in right]
        score = overlap_score(texts, ["a b c d"] * 60, "rouge-1", loss=0.0)
        inside += score.low <= 50.0 <= score.high
    assert 0.9 < inside / 200 < 0.98
