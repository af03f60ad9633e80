"""Scores and their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef
from torch import nn

from objectives.data.encoding import END
from objectives.data.prepare import prepare
from objectives.data.prepared_data import SentencePairs
from objectives.measurement.score import (
    Score,
    bits_per_byte_score,
    perplexity_score,
    window_groups,
)
from objectives.measurement.scores.classes import accuracy_score, score_classifier
from objectives.models.build import build
from objectives.tasks import make_task
from spaces.cost.architecture import Architecture
from spaces.cost.workload import masked_tokens
from spaces.file.search_file import SearchFile


class Oracle(nn.Module):
    """A translator that knows the translations, and has no opinion otherwise.

    Args:
        pairs: What it knows.
        vocabulary_size: Tokens that it chooses from.
    """

    def __init__(self, pairs: SentencePairs, vocabulary_size: int) -> None:
        super().__init__()
        self.even = nn.Parameter(torch.zeros(vocabulary_size))
        self.beams: set[int] = set()
        self._pairs = pairs

    def forward(self, decoder_input_ids: torch.Tensor, **_: Any) -> Any:
        class Output:
            logits = self.even.expand(*decoder_input_ids.shape, -1)

        return Output

    def generate(self, input_ids: torch.Tensor, num_beams: int, **_: Any) -> torch.Tensor:
        self.beams.add(num_beams)
        known = self._pairs.sources[:, : input_ids.shape[1]]
        rows = [int(np.flatnonzero((known == row.numpy()).all(1))[0]) for row in input_ids]
        return torch.from_numpy(self._pairs.targets[rows].astype(np.int64))


@pytest.mark.parametrize("sentences", [12, 150])
def test_each_window_of_a_small_split_is_scored_once(
    sentences: int, make_task_search: Callable[..., SearchFile], corpus: Path, tmp_path: Path
) -> None:
    lines = (corpus / "text.txt").read_text().splitlines()[:sentences]
    (tmp_path / "small.txt").write_text("\n".join(lines) + "\n")
    search = make_task_search("masked-lm", data__unlabelled__validation=str(tmp_path / "small.txt"))
    data = prepare(search.data, search.task, tmp_path)
    windows = len(data.token_stream("validation")) // (search.data.sequence_length - 2)
    assert windows % 64
    torch.manual_seed(0)
    model = build(Architecture.of(1, 32).shape, search.workload)
    score = make_task(search, data).score(model, "validation")
    assert score.examples == windows * masked_tokens(search.data.sequence_length)
    assert score.low < score.value < score.high


@pytest.mark.parametrize("beams", [1, 3])
def test_perfect_translations_have_a_bleu_of_100(
    beams: int, make_task_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    search = make_task_search("translation", task__beams=beams)
    data = prepare(search.data, search.task, tmp_path)
    oracle = Oracle(data.sentence_pairs("validation"), search.data.vocabulary_size)
    score = make_task(search, data).score(oracle, "validation")
    assert (score.low, score.value, score.high) == pytest.approx((100.0, 100.0, 100.0))
    assert score.value <= 100.0
    assert score.examples == len(data.references("validation"))
    assert score.loss == pytest.approx(math.log(search.data.vocabulary_size), rel=1e-4)
    assert oracle.beams == {beams}


def independent_accuracy(correct: int, examples: int) -> Score:
    return accuracy_score(np.arange(examples) < correct, np.arange(examples), loss=1.0)


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    # Of Newcombe 1998, table I: 81 of 263.
    score = independent_accuracy(81, 263)
    assert (score.low, score.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    for count in range(2, 200):
        assert independent_accuracy(0, count).low == 0.0
        assert independent_accuracy(count, count).high == 1.0


def test_the_interval_of_a_perplexity_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        losses = rng.gamma(4.0, 0.5, size=200).tolist()
        score = perplexity_score(losses, np.arange(200), tokens=3200)
        inside += score.low <= math.exp(2.0) <= score.high
    assert 0.92 < inside / 400 < 0.98
    assert score.value == pytest.approx(math.exp(score.loss))
    assert not math.isfinite(perplexity_score([math.nan, 1.0], np.arange(2), tokens=2).value)


def sampled_groups(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Whether examples of some groups of unequal size are right, 3 in 4 on average, and groups."""
    groups = np.repeat(np.arange(count), rng.integers(1, 25, count))
    return rng.random(len(groups)) < rng.beta(3.0, 1.0, count)[groups], groups


@pytest.mark.parametrize("count", [6, 12, 40])
def test_the_interval_of_an_accuracy_is_that_of_independent_groups(count: int) -> None:
    rng = np.random.default_rng(count)
    inside = inside_without_groups = 0
    for _ in range(400):
        correct, groups = sampled_groups(rng, count)
        score = accuracy_score(correct, groups, loss=1.0)
        inside += score.low <= 0.75 <= score.high
        score = accuracy_score(correct, np.arange(len(groups)), loss=1.0)
        inside_without_groups += score.low <= 0.75 <= score.high
    assert 0.9 < inside / 400 < 0.98
    assert inside_without_groups / 400 < 0.8


def test_the_interval_of_many_groups_is_that_of_a_bootstrap_of_groups() -> None:
    correct, groups = sampled_groups(np.random.default_rng(3), 300)
    score = accuracy_score(correct, groups, loss=1.0)
    sums, counts = np.bincount(groups, correct), np.bincount(groups)
    drawn = bootstrap(
        (sums, counts), lambda s, n, axis: s.sum(axis) / n.sum(axis), paired=True, rng=0
    ).confidence_interval
    assert (score.low, score.high) == pytest.approx((drawn.low, drawn.high), abs=0.005)


def test_groups_that_are_all_right_count_as_one_example_each() -> None:
    score = accuracy_score(np.ones(60, dtype=bool), np.repeat(np.arange(6), 10), loss=0.1)
    assert score.high == 1.0
    assert score.low < independent_accuracy(6, 6).low < independent_accuracy(60, 60).low


def classified(metric: Any, predicted: Any, labels: Any, groups: Any) -> Score:
    """The score of a classifier of three classes that predicts what is given."""
    batch = {"labels": torch.as_tensor(labels)}
    logits = torch.nn.functional.one_hot(torch.as_tensor(predicted), 3).float()
    return score_classifier(lambda _: logits, [batch], groups, metric)


METRICS_OF_CLASSES = {
    "balanced-accuracy": balanced_accuracy_score,
    "macro-f1": partial(f1_score, average="macro"),
    "matthews": matthews_corrcoef,
}


@pytest.mark.parametrize("metric", METRICS_OF_CLASSES)
def test_scores_of_classes_are_those_of_scikit_learn(metric: str) -> None:
    rng = np.random.default_rng(0)
    for count in (5, 40, 200):
        labels, predicted = rng.integers(0, 3, count), rng.integers(0, 2, count)
        score = classified(metric, predicted, labels, np.arange(count))
        assert score.value == pytest.approx(METRICS_OF_CLASSES[metric](labels, predicted))
        assert score.examples == count
    alike = np.zeros(9, dtype=np.int64)
    assert classified(metric, alike, alike + 1, np.arange(9)).value == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS_OF_CLASSES)
def test_the_interval_of_a_score_of_classes_holds_the_truth_as_often_as_it_says(
    metric: str,
) -> None:
    def drawn(count: int) -> tuple[Any, Any, Any]:
        """Labels and predictions of groups of up to 9 examples, of which some are harder."""
        groups = np.repeat(np.arange(count), rng.integers(1, 10, count))
        labels = rng.choice(3, len(groups), p=[0.6, 0.3, 0.1])
        is_right = rng.random(len(groups)) < rng.beta(3.0, 1.0, count)[groups]
        return np.where(is_right, labels, rng.integers(0, 3, len(groups))), labels, groups

    rng = np.random.default_rng(1)
    truth = classified(metric, *drawn(20_000)).value
    scores = [classified(metric, *drawn(60)) for _ in range(200)]
    inside = sum(score.low <= truth <= score.high for score in scores)
    assert 0.9 < inside / 200 <= 0.99


def test_bits_per_byte_are_those_of_the_whole_text() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 40, 300)
    losses = (sizes * rng.gamma(9.0, 0.1, 300)).tolist()
    score = bits_per_byte_score(losses, sizes.tolist(), np.arange(300), tokens=1200)
    assert score.value == pytest.approx(sum(losses) / math.log(2.0) / sizes.sum())
    assert score.loss == pytest.approx(sum(losses) / 1200)
    drawn = bootstrap(
        (np.asarray(losses), sizes),
        lambda a, b, axis: a.sum(axis) / b.sum(axis) / math.log(2.0),
        paired=True,
        rng=0,
    ).confidence_interval
    assert (score.low, score.high) == pytest.approx((drawn.low, drawn.high), abs=0.02)


def test_windows_of_a_document_are_one_group() -> None:
    stream = np.full(1000, 7, dtype=np.int32)
    stream[24::25] = END
    # 40 documents, of 2.5 windows each.
    groups = window_groups(stream, np.arange(0, 1000, 10))
    assert groups.tolist() == [start // 25 for start in range(0, 1000, 10)]


def test_windows_of_one_long_document_are_grouped_in_runs_whatever_their_order() -> None:
    starts = np.random.default_rng(0).permutation(np.arange(0, 1000, 10))
    groups = window_groups(np.full(1001, 7, dtype=np.int32), starts)
    assert groups.tolist() == (starts // 100).tolist()


def test_the_interval_of_a_perplexity_widens_where_neighbours_resemble_each_other() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        # Autoregressive with a correlation of 0.6, and a mean of 2.
        losses = np.zeros(400)
        for step, noise in enumerate(rng.normal(size=400)):
            losses[step] = 0.6 * losses[step - 1] + noise if step else 1.25 * noise
        groups = window_groups(np.full(401, 7, dtype=np.int32), np.arange(400))
        score = perplexity_score((losses + 2.0).tolist(), groups, tokens=400)
        inside += score.low <= math.exp(2.0) <= score.high
    assert 0.88 < inside / 400 < 0.98
