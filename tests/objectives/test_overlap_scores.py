"""Scores of written texts: BLEU, chrF and ROUGE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF

from objectives.data.errors import DataError
from objectives.data.prepare import prepare
from objectives.measurement.scores.bleu_tokenizers import bleu_tokenizer, lacking_packages
from objectives.measurement.scores.texts import overlap_score
from objectives.predictor.overlap import overlap
from objectives.tasks import make_task
from spaces.cost.metric import OF_WRITTEN_TEXTS
from spaces.file.search_file import SearchFile

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


SENTENCES = {
    "zh": ["猫坐在窗台上看外面的鸟。", "今天又下雨了，我们留在家里。"],
    "char": ["แมวนั่งอยู่บนหน้าต่าง", "วันนี้ฝนตกอีกแล้ว"],
    "ja-mecab": ["猫は窓の上に座って鳥を見ている。", "今日はまた雨が降った。"],
    "ko-mecab": ["고양이가 창문에 앉아요", "오늘도 비가 왔어요"],
    "13a": ["The cat sits on the window sill.", "It rains again, and we stay at home."],
}
"""By the tokenizer of their language."""


@pytest.mark.parametrize("language", SENTENCES)
def test_perfect_translations_have_a_bleu_of_100_in_every_language(language: str) -> None:
    wanted = SENTENCES[language]
    found = bleu_tokenizer(wanted)
    assert found == ("char" if lacking_packages(language) else language)
    perfect = overlap_score(wanted, wanted, "bleu", loss=0.0, tokenizer=found)
    assert perfect.value == pytest.approx(100.0)
    assert f"tok:{found}" in str(perfect.details["signature"])
    assert perfect.details["chrf"] == pytest.approx(100.0)
    # A sentence without its end has a part of the score.
    part = overlap_score([each[:-4] for each in wanted], wanted, "bleu", 0.0, found)
    assert 20.0 < part.value < 90.0
    if language != "13a":
        assert overlap_score(wanted, wanted, "bleu", loss=0.0).value < 100.0


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["Кошка сидит на окне"], "13a"),
        (["القط يجلس على النافذة"], "13a"),
        (["iPhone 15 的价格是多少", "我想买一台新的电脑"], "zh"),
        (["The Japanese word 猫 means cat"], "13a"),
        (["ខ្ញុំស្រឡាញ់អ្នក"], "char"),
        (["", "12 + 3"], "13a"),
    ],
)
def test_the_tokenizer_follows_the_script_of_most_letters(
    references: list[str], expected: str
) -> None:
    assert bleu_tokenizer(references) == expected


@pytest.mark.skipif(not lacking_packages("ja-mecab"), reason="MeCab is installed")
def test_a_tokenizer_that_is_not_installed_is_refused_before_training(
    make_task_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    search = make_task_search("translation", task__bleu_tokenizer="ja-mecab")
    data = prepare(search.data, search.task, tmp_path)
    with pytest.raises(DataError, match=r"task\.bleu_tokenizer: ja-mecab needs MeCab and ipadic"):
        make_task(search, data)
    intl = make_task_search("translation", task__bleu_tokenizer="intl")
    # Weights do not depend on it.
    assert make_task(intl, data).scored_by == {"beams": 1, "tokenizer": "intl"}
    assert make_task(make_task_search("translation"), data).scored_by["tokenizer"] == "13a"


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
