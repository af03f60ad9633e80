"""Losses, scores and metrics of a task that a user wrote, of several kinds of models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from objectives.completion import completed
from objectives.data.batches import logits
from objectives.models.build import build
from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.flops import forward_flops
from spaces.loading import validate
from tests.objectives.conftest import OpenOwn
from tests.own_package import own_document

REGRESSION = (
    ("tokens = rng.integers(0, self.symbols, (", "signal = rng.normal(size=("),
    ("(rows, self.length))", "(rows, self.length, 2))"),
    (
        '"input_ids": tokens, "labels": tokens[:, 0]',
        '"input_features": signal, "labels": signal[:, 0].sum(1)',
    ),
    ("nn.Embedding(config.symbols, config.width)", "nn.Linear(2, config.width)"),
    ("nn.Linear(config.width, config.symbols)", "nn.Linear(config.width, 1)"),
    ("input_ids", "input_features"),
    (
        "    def model(",
        "    metric = tlc.Metric('mae', guessing=1.13, perfect=0.0)\n\n"
        "    def errors(self, model, batch):\n"
        "        return model(batch['input_features']).logits[:, 0] - batch['labels']\n\n"
        "    def loss(self, model, batch):\n"
        "        return self.errors(model, batch).square().mean()\n\n"
        "    def scores(self, model, batch):\n"
        "        return self.errors(model, batch).abs()\n\n"
        "    def model(",
    ),
)
"""Changes of the package: it predicts a number from the first step of a signal."""


@pytest.mark.slow
def test_numbers_are_predicted_from_signals(open_own: OpenOwn, home: Path) -> None:
    search = open_own(*REGRESSION)
    assert (search.workload.vocabulary_size, search.workload.classes) == (0, 1)
    assert search.workload.sequence_length == 8
    compression = Compression(Quantisation.RTN_8, pruning=Pruning.NEURONS, sparsity=0.5)
    objective = Objective(search)
    found = objective.evaluate(Configuration(Architecture.of(1, 32), 200, compression))
    assert found.metric == "mae"
    assert 0.0 < found.dense_score < 0.6
    assert found.score_low < found.score < found.score_high
    assert found.flops == forward_flops(
        compression.shape_of(Architecture.of(1, 32)), search.workload
    )
    assert objective.references(["test"]) == []


ECHO = """
import numpy as np
import tlc
from transformers import MBartConfig, MBartForConditionalGeneration


class Echo(tlc.Task):
    metric = "perplexity"

    def data(self):
        rng = np.random.default_rng(0)
        splits = {}
        for split in ("train", "validation", "test"):
            tokens = rng.integers(4, 16, (64, 6))
            splits[split] = {
                "input_ids": tokens,
                "decoder_input_ids": np.pad(tokens[:, :-1], ((0, 0), (1, 0))),
                "labels": tokens,
            }
        return splits

    def model(self, architecture):
        return MBartForConditionalGeneration(
            MBartConfig(
                vocab_size=16,
                d_model=architecture.width,
                encoder_layers=architecture.depth,
                decoder_layers=architecture.decoder_depth,
                encoder_attention_heads=architecture.heads,
                decoder_attention_heads=architecture.heads,
                encoder_ffn_dim=architecture.feed_forward,
                decoder_ffn_dim=architecture.feed_forward,
                max_position_embeddings=6,
            )
        )
"""


@pytest.mark.slow
def test_an_encoder_and_a_decoder_are_scored_by_perplexity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "echo_task.py").write_text(ECHO)
    document = {**own_document("echo"), "task": {"name": "echo_task:Echo"}}
    document["space"]["decoder_depth"] = 1
    search, _ = completed(validate(document), tmp_path / "data")
    assert search.metric.guessing == 16
    assert (search.workload.vocabulary_size, search.workload.classes) == (16, 0)
    architecture = Architecture.of(2, 64, decoder_depth=1)
    found = Objective(search).evaluate(Configuration(architecture, 20, Compression()))
    assert 1.0 < found.score_low < found.score < found.score_high < 40.0
    assert found.parameters == parameters(architecture, search.workload)


def test_a_metric_and_scores_of_its_own_have_an_interval_of_groups(
    open_own: OpenOwn, tmp_path: Path
) -> None:
    search = open_own(
        ('"labels": tokens[:, 0]}', '"labels": tokens[:, 0], "group": np.arange(rows) // 8}'),
        (
            "    def model(",
            "    metric = tlc.Metric('brier', guessing=0.7, perfect=0.0)\n\n"
            "    def scores(self, model, batch):\n"
            "        chances = model(batch['input_ids']).logits.softmax(-1)\n"
            "        return (1 - chances.gather(1, batch['labels'][:, None]))[:, 0] ** 2\n\n"
            "    def model(",
        ),
    )
    assert search.objectives == ("brier", "size_mb")
    assert not search.metric.is_maximised
    assert search.metric.quality(0.35) == pytest.approx(0.5)
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    model = build(Architecture.of(1, 32).shape, search.workload)
    score = task.score(model, "validation")
    assert score.low < score.value < score.high
    assert score.examples == 64


def test_a_score_that_is_no_mean_has_the_interval_of_a_bootstrap(
    open_own: OpenOwn, tmp_path: Path
) -> None:
    search = open_own(
        (
            "    def model(",
            "    metric = tlc.Metric('median', guessing=0.0, perfect=1.0)\n\n"
            "    def scores(self, model, batch):\n"
            "        return model(batch['input_ids']).logits.softmax(-1).amax(-1)\n\n"
            "    def value(self, scores):\n"
            "        return float(np.median(scores))\n\n"
            "    def model(",
        ),
    )
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    model = build(Architecture.of(1, 32).shape, search.workload).eval()
    score = task.score(model, "validation")
    columns = task.prepared.columns("validation")
    chances = logits(model, {"input_ids": torch.from_numpy(columns["input_ids"].copy())})
    largest = chances.detach().softmax(-1).amax(-1)
    assert score.value == pytest.approx(float(np.median(largest)), abs=1e-2)
    assert score.low < score.high


def test_labels_of_tokens_are_scored_by_row(open_own: OpenOwn, tmp_path: Path) -> None:
    search = open_own(
        ('"labels": tokens[:, 0]', '"labels": np.where(tokens > 0, tokens, -100)'),
        ("self.norm(states)[:, 0]", "self.norm(states)"),
    )
    assert search.workload.classes == 0  # as many outputs as symbols: a language model
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    model = build(Architecture.of(1, 32).shape, search.workload)
    assert 0.0 < task.score(model, "test").value < 1.0
