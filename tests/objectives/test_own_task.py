"""A task that a user wrote: opened before any training, trained and scored as tlc's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.failures import TrialFailure
from objectives.models.build import build
from objectives.models.own import OwnModelError
from objectives.models.parametrisation import weight_scales
from objectives.objective import Objective
from objectives.tasks.own.importing import own_task
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.size import size_bytes
from spaces.errors import UserError
from spaces.loading import validate
from tests.objectives.conftest import OpenOwn
from tests.own_package import own_document


def refused(open_own: OpenOwn, *changes: tuple[str, str], **task: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        open_own(*changes, **task)
    return caught.value


def test_it_is_trained_compressed_and_scored(open_own: OpenOwn, home: Path) -> None:
    search = open_own()
    compression = Compression(Quantisation.STATIC_8, pruning=Pruning.HEADS, sparsity=0.5)
    configuration = Configuration(Architecture.of(2, 64), 120, compression)
    objective = Objective(search)
    found = objective.evaluate(configuration)
    assert found.dense_score > 0.9
    assert found.score > 0.6
    assert found.score_low < found.score <= found.score_high
    assert found.examples == 64
    assert abs(found.size_bytes - found.predicted_size_bytes) < 0.01 * found.size_bytes
    assert objective.test(found.model).value > 0.6
    (majority,) = objective.references(["validation"])
    assert majority["name"] == "majority class"
    assert majority["scores"]["validation"]["score"] < 0.6


def test_its_arithmetic_is_that_of_its_models(open_own: OpenOwn) -> None:
    search = open_own(symbols=64, length=96)  # as wide as two of the models that are read
    for depth, width in ((1, 32), (3, 64), (2, 96)):
        architecture = Architecture.of(depth, width)
        model = build(architecture.shape, search.workload)
        counted = sum(parameter.numel() for parameter in model.parameters())
        assert parameters(architecture, search.workload) == counted
    assert search.workload.sequence_length == 96
    assert search.metric.guessing == 1 / 64
    plain = size_bytes(Architecture.of(1, 32), search.workload, Compression())
    assert plain > 4 * parameters(Architecture.of(1, 32), search.workload)


def test_without_the_parametrisation_weights_are_those_of_its_class(open_own: OpenOwn) -> None:
    search = open_own(("length: int = 8", "length: int = 8\n    parametrised = False"))
    architecture = Architecture.of(2, 64)
    torch.manual_seed(0)
    built = build(architecture.shape, search.workload)
    torch.manual_seed(0)
    task = own_task(search.task)  # type: ignore[arg-type]
    made = task.model(architecture)
    for name, weight in made.state_dict().items():
        assert torch.equal(weight, built.state_dict()[name]), name
    rates = {
        each.learning_rate for each in weight_scales(architecture.shape, search.workload).values()
    }
    assert rates == {1.0}


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ([], {"symbols": "3"}, r"task.symbols: input should be a valid integer, but is '3'"),
        ([], {"symbol": 3}, r"task.symbol: is not a known key; did you mean symbols?"),
        ([("class FirstSymbol(tlc.Task)", "class Second(tlc.Task)")], {}, "it has Second"),
        ([("(tlc.Task)", "")], {}, "names no subclass of tlc.Task"),
        ([("import numpy as np", "import numpyy as np")], {}, "No module named 'numpyy'"),
        ([("import numpy as np", "1 / 0")], {}, "ZeroDivisionError: division by zero"),
        ([("    def data(", "    def rows(")], {}, "has no data(), which a task needs"),
        ([("symbols: int", "seed: int"), ("self.symbols", "self.seed")], {}, "task.seed: "),
        ([("return splits", "raise OSError('gone')")], {}, "data() raised OSError: gone ("),
        ([('"test": 64', '"held_out": 64')], {}, "allowed are the splits train, validation, test"),
        ([('"labels": tokens[:, 0]', '"labels": ["a"] * rows')], {}, "that holds no numbers"),
        ([('"labels": tokens[:, 0]', '"labels": tokens[1:, 0]')], {}, "different numbers of rows"),
        ([("0, self.symbols, (rows", "0, 9, (rows")], {}, "an embedding of 3 tokens"),
        ([('"input_ids": tokens', '"symbols": tokens')], {}, "none is an input of a model"),
        ([("return Reader(", "return str(")], {}, "allowed is a PreTrainedModel"),
        ([("neurons=architecture.feed_forward", "neurons=64")], {}, "of feed_forward 64 where"),
        (
            [("config.symbols)\n        self.post", "3 * config.depth)\n        self.post")],
            {},
            "weights that do not follow",
        ),
        ([("logits=self.head", "hidden_states=self.head")], {}, "must return logits"),
        ([("functional.scaled_dot_product_attention(query, key, value)", "value")], {}, "no layer"),
        (
            [
                (
                    "    def model(",
                    "    def loss(self, model, batch):\n        1 / 0\n\n    def model(",
                )
            ],
            {},
            "loss() raised ZeroDivisionError: division by zero (",
        ),
        (
            [
                (
                    "    def model(",
                    "    def loss(self, model, batch):\n"
                    "        return super().loss(model, batch) / 0\n\n    def model(",
                )
            ],
            {},
            "loss() of an untrained model is inf; it must be finite",
        ),
        (
            [("length: int = 8", "length: int = 8\n    metric = 'f2'")],
            {},
            "metric is 'f2'; allowed",
        ),
    ],
)
def test_it_is_refused_before_any_training(
    changes: list[tuple[str, str]], fields: dict[str, Any], message: str, open_own: OpenOwn
) -> None:
    assert message in str(refused(open_own, *changes, **fields))


def test_the_error_of_the_user_is_the_cause(open_own: OpenOwn, tmp_path: Path) -> None:
    error = refused(open_own, ("return splits", "raise OSError('gone')"), name="raising")
    assert isinstance(error.__cause__, OSError)
    assert f"{tmp_path / 'raising' / 'tasks.py'}, line " in str(error)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"data": {"images": {"source": "digits"}}}, "data.images: task own.tasks:FirstSymbol has"),
        ({"model": {"from": "./here"}}, "starts from random weights; leave model out"),
        ({"objectives": ["accuracy", "size_kb"]}, "objectives"),
        ({"task": {"name": "own.tasks"}}, "a task of your own is module:Class"),
        ({"task": {"name": "own tasks:First"}}, "task.name: 'own tasks:First' names no class"),
        ({"training": {"dropout": 0.1}}, "training.dropout: the models of own.tasks:FirstSymbol"),
    ],
)
def test_a_search_file_is_refused_without_importing_anything(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        validate({**own_document("own"), **section})
    assert message in str(caught.value)


def test_a_trial_of_a_model_that_becomes_another_fails_alone(open_own: OpenOwn, home: Path) -> None:
    search = open_own(("width = config.width\n", "width = min(160, config.width)\n"))
    broken = Configuration(Architecture.of(1, 192), 20, Compression())
    with pytest.raises((OwnModelError, TrialFailure), match="made other weights"):
        Objective(search).evaluate(broken)


def test_its_model_is_an_ordinary_module(open_own: OpenOwn) -> None:
    search = open_own()
    model = build(Architecture.of(1, 32).shape, search.workload)
    assert isinstance(model, nn.Module)
    assert type(model).__module__.endswith(".reader")
