"""Dimensions of the model beside depth and width, in the sampler and in what a search answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.analysis.claims.observations import observe
from search.analysis.report.dimensions import dimensions_section
from search.analysis.report.report_data import ReportData
from search.api.results import Results
from search.cli.printing.tables import frontier_table
from search.plots.parallel_coordinates import parallel_figure
from search.results.prediction import Predictor
from search.results.schemas import FrontierMember
from search.samplers.frontier.prior import prior_for
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.gp.kernel import Prior
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.trial_run import trial_name, trial_params
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.conftest import made_up_result

SPACE: dict[str, Any] = {
    "space__depth": 1,
    "space__head_width": {"choices": [8, 32]},
    "space__feed_forward_ratio": {"choices": [2.0, 4.0]},
    "space__activation": {"choices": ["gelu", "relu", "relu2"]},
    "space__sparsity": 0.0,
}
STAGES = ("train", "saved", "stable", "cooldown", "recovery", "compress", "measure")
SECONDS = dict.fromkeys(STAGES, 1.0)


def finish(study: Study, record: TrialRecord) -> None:
    """As if one activation were better than the others."""
    configuration = record.configuration
    architecture = configuration.architecture
    score = 0.6 + architecture.width / 1000 + configuration.budget / 1000
    score += 0.1 * (architecture.activation == "relu2")
    size = study.space.cost(configuration).size_mb
    study.tell_result(record.number, made_up_result(score, size, seconds=SECONDS))


@pytest.fixture
def study(make_search: Callable[..., SearchFile], home: Path) -> Study:
    search = make_search(trials=100, **SPACE)
    return Study.open(search, f"sqlite:///{home / 'study.db'}")


def test_the_sampler_tells_activations_apart_and_finds_the_better_one(study: Study) -> None:
    searched = SearchDesignSpace(study.space)
    space = searched.design_space
    assert space.kinds == 3
    columns = {tuple(row) for row in space.runs[:, -3:]}
    assert columns == {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)}
    prior: Prior = prior_for(space)
    assert len(prior.training_scales) == len(prior.slopes) == space.runs.shape[1]
    study.optuna.sampler = FrontierSampler(searched, seed=0)
    for _ in range(18):
        finish(study, study.ask())
    chosen = [record.configuration.architecture.activation for record in study.records()]
    assert chosen[9:].count("relu2") >= 6


def test_claims_compare_models_of_one_kind(study: Study) -> None:
    with pytest.raises(UserError, match=r"several values of space\.activation"):
        observe([study])


def test_one_activation_is_no_feature(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search(**{**SPACE, "space__activation": "relu"}))
    assert SearchDesignSpace(space).design_space.kinds == 0


def test_tied_embeddings_are_a_feature_and_an_answer(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_task_search(
        "causal-lm", space__depth=1, space__tied_embeddings={"choices": [True, False]}
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    space = SearchDesignSpace(study.space).design_space
    assert space.kinds == 1
    assert {*space.runs[:, -1]} == {0.0, 1.0}
    first = {d.name: d.values[0] for d in study.space.dimensions}
    for tied in (True, False):
        study.optuna.enqueue_trial(first | {"tied_embeddings": tied})
        finish(study, study.ask())
    records = study.records()
    assert [record.configuration.architecture.tied_embeddings for record in records] == [
        True,
        False,
    ]
    table = frontier_table([FrontierMember.of(record, {}, None) for record in records])
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["tied"] == ["yes", "no"]
    frame = Results(study.search.name, f"sqlite:///{home / 'study.db'}").trials()
    assert list(frame["tied_embeddings"]) == [True, False]
    at = {"width": 32, "budget": 20, "quantisation": "none", "sparsity": 0.0}
    assert Predictor(study, records).predict({**at, "tied_embeddings": False}).trial == 1


def test_answers_have_the_dimensions_of_the_model(study: Study, home: Path) -> None:
    first = {d.name: d.values[0] for d in study.space.dimensions}
    chosen = {"head_width": 8, "feed_forward_ratio": 2.0, "activation": "relu"}
    other = {"head_width": 32, "feed_forward_ratio": 4.0, "activation": "gelu"}
    for values in (chosen, other):
        study.optuna.enqueue_trial(first | values)
        finish(study, study.ask())
    records = study.records()
    text = "head_width 8, feed_forward 64, activation relu, "
    assert text in trial_name(records[0], "steps")
    params = trial_params(records[0], "steps")
    assert {name: params[name] for name in chosen} == chosen
    table = frontier_table([FrontierMember.of(record, {}, None) for record in records])
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["head width"] == ["8", "32"]
    assert cells["feed-forward"] == ["64", "128"]
    assert cells["activation"] == ["relu", "gelu"]
    frame = Results(study.search.name, f"sqlite:///{home / 'study.db'}").trials()
    assert frame[list(chosen)].iloc[0].to_dict() == chosen
    axes = parallel_figure(records, study.space).data[0].dimensions
    assert {"head width", "feed forward ratio", "activation"} < {axis.label for axis in axes}
    at = {"width": 32, "budget": 20, "quantisation": "none"}
    assert Predictor(study, records).predict({**at, **chosen}).trial == 0
    labels = [chart.label for chart in dimensions_section(ReportData.of(study)).charts]
    assert {"accuracy by head width", "accuracy by activation"} < {*labels}
