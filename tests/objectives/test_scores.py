"""Scores and their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from objectives.data.prepare import prepare
from objectives.data.prepared_data import SentencePairs
from objectives.measurement.score import accuracy_score, perplexity_score
from objectives.models.build import build
from objectives.tasks import make_task
from spaces.cost.architecture import Architecture
from spaces.cost.families import masked_tokens
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


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    # Of Newcombe 1998, table I: 81 of 263.
    score = accuracy_score(81, 263, loss=1.0)
    assert (score.low, score.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    for count in range(1, 200):
        assert accuracy_score(0, count, loss=1.0).low == 0.0
        assert accuracy_score(count, count, loss=1.0).high == 1.0


def test_the_interval_of_a_perplexity_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        score = perplexity_score(rng.gamma(4.0, 0.5, size=200).tolist(), tokens=3200)
        inside += score.low <= math.exp(2.0) <= score.high
    assert 0.92 < inside / 400 < 0.98
    assert score.value == pytest.approx(math.exp(score.loss))
    assert not math.isfinite(perplexity_score([math.nan, 1.0], tokens=2).value)
