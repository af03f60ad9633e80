"""References are fitted to the training split, and scored and sized as models are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.data.encoding import END, MASK, PAD, START
from objectives.data.prepared_data import LabelledTexts
from objectives.measurement.score import Score
from objectives.objective import Objective
from objectives.references.classifiers import text_references
from objectives.references.masked_bigrams import MaskedBigrams
from objectives.references.ngrams import NgramModel
from objectives.references.token_counts import token_ngrams
from spaces.file.search_file import SearchFile

VOCABULARY = 12
SPLITS = ["validation", "test"]

Measure = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def measure(make_task_search: Callable[..., SearchFile], home: Path) -> Measure:
    """The references of one of the task documents."""
    return lambda name: Objective(make_task_search(name)).references(SPLITS)


def scores(references: list[dict[str, Any]], split: str = "validation") -> list[float]:
    return [reference["scores"][split]["score"] for reference in references]


def stream(count: int = 3000) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Tokens of which each depends on the two before it."""
    rng = np.random.default_rng(0)
    tokens = [5, 6]
    for _ in range(count):
        usual = 5 + (tokens[-1] + 2 * tokens[-2]) % 5
        tokens.append(usual if rng.random() < 0.8 else int(rng.integers(5, 10)))
    return np.asarray(tokens, dtype=np.int32)


def test_a_classifier_of_texts_is_compared_with_logistic_regression(measure: Measure) -> None:
    majority, regression = measure("classification")
    assert majority["name"] == "majority class"
    assert regression["name"].startswith("logistic regression")
    for split in SPLITS:
        assert scores([majority, regression], split) == [0.5, 1.0]
    low, high = (majority["scores"]["test"][end] for end in ("score_low", "score_high"))
    assert low < 0.5 < high
    assert majority["scores"]["test"]["loss"] == pytest.approx(math.log(2), rel=1e-3)
    ngrams = int(regression["name"].split()[2].replace(",", ""))
    # A key of two tokens, an IDF and a weight for each n-gram, and a bias.
    assert regression["size_bytes"] == ngrams * (4 + 4 + 4) + 4
    assert "3-fold cross-validation on train" in regression["description"]


@pytest.mark.parametrize(
    ("known", "strength"), [(60, "C 0.1 by"), (300, "C 100 by"), (2, "C 1, as")]
)
def test_regularisation_is_chosen_with_whole_groups_held_out(known: int, strength: str) -> None:
    """Each group has a word and a label of its own, which say nothing of other groups."""
    group = np.tile(np.arange(60), 5)
    tokens = np.full((300, 4), PAD, dtype=np.int32)
    tokens[:, 0], tokens[:, 1], tokens[:, 2] = START, 10 + group, END
    labels = np.random.default_rng(0).integers(0, 2, 60)[group].astype(np.int32)
    groups = np.arange(300) % known
    texts = LabelledTexts(tokens, np.full(300, 3, np.int32), labels, groups.astype(np.int32))
    _, regression = text_references(texts, 100, 2, lambda predict, split: Score(0, 0, 0, 1, 0))
    assert strength in regression.description


def test_a_classifier_of_images_is_compared_with_logistic_regression(measure: Measure) -> None:
    majority, regression = measure("image-classification")
    assert scores([majority])[0] < 0.2
    assert scores([regression])[0] > 0.9
    assert regression["size_bytes"] == 4 * 10 * (8 * 8 + 1)


def test_a_translation_is_compared_with_its_source(measure: Measure) -> None:
    (copied,) = measure("translation")
    assert copied["size_bytes"] == 0
    assert copied["scores"]["test"]["loss"] is None
    assert 0.0 <= scores([copied])[0] < 10.0


def test_a_summary_is_compared_with_the_beginning_of_its_document(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    objective = Objective(make_task_search("summarisation"))
    (lead,) = objective.references(SPLITS)
    assert lead["size_bytes"] == 0
    targets = np.asarray(objective.data.sentence_pairs("train").targets)
    tokens = round(float((targets > MASK).sum(1).mean()))
    assert lead["description"].startswith(f"the first {tokens} tokens of the document")
    # A fifth of the nouns are in the beginning, and no other word of a summary.
    assert 10.0 < scores([lead])[0] < 50.0


@pytest.mark.parametrize(("name", "orders"), [("causal-lm", 3), ("masked-lm", 2)])
def test_a_language_model_is_compared_with_ngrams(name: str, orders: int, measure: Measure) -> None:
    references = measure(name)
    assert [r["name"] for r in references] == ["unigram model", "bigram model", "trigram model"][
        :orders
    ]
    assert scores(references)[1] < scores(references)[0] < 400
    sizes = [reference["size_bytes"] for reference in references]
    assert sizes == sorted(sizes)
    for split in SPLITS:
        loss = references[1]["scores"][split]["loss"]
        assert scores(references, split)[1] == pytest.approx(math.exp(loss))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_of_an_ngram_model_sum_to_one(order: int) -> None:
    model = NgramModel.fit(stream(), VOCABULARY, order)
    for context in ([5, 6], [9, 5], [MASK, 7], [7, MASK], [11, 11]):
        windows = np.asarray([[*context, token] for token in range(VOCABULARY)])
        assert model.probabilities(windows)[:, 1].sum() == pytest.approx(1.0)


def test_longer_ngrams_predict_better_what_depends_on_more_tokens() -> None:
    windows = stream()[2000:2980].reshape(-1, 28).astype(np.int64)
    losses = [
        -np.log(NgramModel.fit(stream()[:2000], VOCABULARY, order).probabilities(windows)).mean()
        for order in (1, 2, 3)
    ]
    assert losses[2] < min(losses[:2]) - 0.5


def test_masked_tokens_are_predicted_from_both_sides() -> None:
    model = NgramModel.fit(stream(), VOCABULARY, 2)

    def follows(first: int, second: int) -> float:
        return float(model.probabilities(np.asarray([[first, second]]))[0, 0])

    found = MaskedBigrams(model).posterior(
        np.asarray([6, 6, MASK]), np.asarray([MASK, 8, MASK]), np.asarray([7, 7, MASK])
    )
    assert found.sum(axis=1) == pytest.approx(1.0)
    joint = np.asarray([follows(6, token) * follows(token, 7) for token in range(VOCABULARY)])
    assert found[0] == pytest.approx(joint / joint.sum())
    # What is visible is the true token or one of the seven that are no special ones.
    joint *= np.where(np.arange(VOCABULARY) == 8, 1.0 + 7.0, 1.0)
    assert found[1] == pytest.approx(joint / joint.sum())
    # Between two masks the text's own tokens are likely.
    assert found[2][5:10].sum() > 0.9


def test_ngrams_of_the_second_text_of_a_pair_count_apart() -> None:
    single = token_ngrams(np.asarray([START, 7, 8, END, PAD]))
    assert single == [(7,), (8,), (7, 8)]
    pair = token_ngrams(np.asarray([START, 7, 8, END, END, 8, 9, END, PAD]))
    assert pair == [(7,), (8,), (-8,), (-9,), (7, 8), (-8, -9)]
