"""Resuming a search with a wider space keeps its trials; a narrower one is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import distribution_to_json
from optuna.trial import TrialState

from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.known_speeds import known_speeds
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.errors import BusyStudy
from search.storage.function_study import FunctionStudy
from search.storage.lease import LEASE, Lease
from search.storage.study import Study
from search.storage.transactions import parameters
from search.storage.widening import MEASURED, unused_widenings
from search.tracking.sync import MlflowSync
from spaces.cost.architecture import Architecture
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations
from spaces.functions.points import FunctionSpace
from spaces.functions.search import FunctionSearch
from tests.search.conftest import feasible_hashes, made_up_result, mlflow_runs

NARROW = {
    "space__width": {"choices": [32, 64]},
    "space__quantisation": {"choices": ["none", "rtn-8"]},
    "space__sparsity": {"choices": [0.0, 0.5]},
    "trials": 20,
}
SECONDS = {
    "stable": 4.0, "cooldown": 1.0, "train": 5.0, "saved": 0.0, "compress": 0.1, "measure": 0.1,
}  # fmt: skip
WIDE = {
    "space__depth": {"low": 1, "high": 3},
    # Evenly spaced before, and not now: Optuna stores it in another way.
    "space__width": {"choices": [64, 32, 128]},
    "space__quantisation": {"choices": ["rtn-4", "rtn-8", "none"]},
    "space__sparsity": {"choices": [0.0, 0.3, 0.5]},
    "trials": 30,
}


@pytest.fixture
def url(home: Path) -> str:
    return f"sqlite:///{home / 'study.db'}"


def stored(study: Study) -> list[tuple[int, TrialState, dict[str, Any], dict[str, str]]]:
    """What Optuna reads of each trial."""
    return [
        (
            t.number,
            t.state,
            t.params,
            {n: distribution_to_json(d) for n, d in t.distributions.items()},
        )
        for t in study.optuna.get_trials()
    ]


def fill(study: Study) -> None:
    """Complete, failed, repeated and running trials, and one whose parameters are not all
    written."""
    study.optuna.sampler = FeasibleSampler(study.space, "random", seed=1, trials=20)
    for k in range(6):
        study.tell_result(study.ask().number, made_up_result(0.6 + k / 50, 0.1, seconds=SECONDS))
    study.tell_failure(study.ask().number, "diverged", "the loss rose")
    study.repeat(2, seed=1)
    study.ask()
    study.optuna.ask().suggest_categorical("quantisation", ("none", "rtn-8"))


def test_a_wider_space_keeps_every_trial(make_search: Callable[..., SearchFile], url: str) -> None:
    study = Study.open(make_search(**NARROW), url)
    fill(study)
    before, repeats = study.records_and_repeats()
    wider = Study.open(make_search(**WIDE), url)
    assert unused_widenings(wider) == [
        "depth 1, 2 -> 1, 2, 3; width 32, 64 -> 64, 32, 128; "
        "quantisation none, rtn-8 -> rtn-4, rtn-8, none; sparsity 0, 0.5 -> 0, 0.3, 0.5"
    ]
    assert wider.records_and_repeats() == (before, repeats)
    trials = wider.optuna.get_trials()
    expected = {name: distribution_to_json(d) for name, d in wider.distributions().items()}
    for trial in trials[:-1]:
        record = wider.record(trial.number)
        found = wider.configuration_from(trial.params).with_seed(record.configuration.seed)
        assert found == record.configuration
        assert {n: distribution_to_json(d) for n, d in trial.distributions.items()} == expected
    assert trials[-1].params == {"quantisation": trials[-1].params["quantisation"]}

    # A driver that died left two: one has all of its parameters.
    unfinished = wider.take_over_unfinished()
    assert {each.number for each in unfinished} == {7, 8}
    assert [each.attempt for each in unfinished] == [2, 2]
    for each in unfinished:
        wider.tell_result(each.number, made_up_result(0.7, 0.1, seconds=SECONDS), attempt=2)
    known = {each.configuration.hash for each in wider.records()}
    wider.optuna.sampler = FrontierSampler(SearchDesignSpace(wider.space), seed=0)
    for _ in range(8):
        record = wider.ask()
        assert record.configuration.hash not in known
        wider.tell_result(record.number, made_up_result(0.7, 0.1, seconds=SECONDS))
        known.add(record.configuration.hash)
    assert known <= feasible_hashes(wider.space)
    assert unused_widenings(wider) == []
    # Resuming it again changes nothing.
    rows = stored(wider)
    assert stored(Study.open(make_search(**WIDE), url)) == rows


def test_values_may_be_given_in_another_form(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    study = Study.open(make_search(**NARROW), url)
    fill(study)
    rows = stored(study)
    same = make_search(**{**NARROW, "space__width": {"low": 32, "high": 64, "log": True}})
    again = Study.open(same, url)
    assert stored(again) == rows
    assert unused_widenings(again) == []
    assert again.search.space.width.log


def test_a_dimension_may_be_added_that_all_trials_have(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    study = Study.open(make_search(**NARROW), url)
    fill(study)
    before = study.records_and_repeats()
    # One head for each 32 of width until now.
    given = make_search(**NARROW, space__heads={"choices": [1, 2, 4]})
    wider = Study.open(given, url)
    assert unused_widenings(wider) == ["heads added: 1, 2, 4"]
    assert wider.records_and_repeats() == before
    for trial in wider.optuna.get_trials()[:7]:
        assert trial.params["heads"] == trial.params["width"] // 32
        assert wider.configuration_from(trial.params) == wider.record(trial.number).configuration
    with pytest.raises(BusyStudy, match=r"space\.heads: was searched .* allowed: 1, 2, 4, and"):
        Study.open(make_search(**NARROW), url)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "narrower": (
        {"space__width": 64},
        r"space\.width: leaves out 32 \(\d trials\); .* allowed: all of 32, 64, and further values",
    ),
    "narrower without trials": (
        {"space__budget": {"unit": "steps", "choices": [20, 80]}},
        r"space\.budget: leaves out 40 \(no trial\)",
    ),
    "a smaller budget": (
        {"space__budget": {"unit": "steps", "choices": [10, 20, 40]}},
        r"space\.budget: 10 is less than 20, .*warmup_fraction .*; allowed: from 20 on",
    ),
    "another unit": (
        {"space__budget": {"unit": "tokens", "choices": [20_000, 40_000]}},
        r"space\.budget\.unit: is tokens; allowed: steps",
    ),
    "a setting": (
        {"space__training": {"learning_rate": {"choices": [1e-3, 2e-3]}}},
        r"space\.training\.learning_rate: was not searched",
    ),
    "other heads": ({"space__heads": 1}, r"space\.heads: was not searched, and not every trial"),
    "more than the space": (
        {"space__depth": {"low": 1, "high": 4}, "seed": 3},
        r"exists with another seed, space\.depth\.high",
    ),
    "fit": (
        {"space__compression": "fit", "constraints__max_size_mb": 1.0},
        r"exists with another constraints\.max_size_mb, space\.compression",
    ),
}


def test_what_would_change_or_lose_trials_is_refused_and_changes_nothing(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    study = Study.open(make_search(**NARROW), url)
    study.optuna.sampler = FeasibleSampler(study.space, "grid", seed=1, trials=20)
    for _ in range(4):
        study.tell_result(study.ask().number, made_up_result(0.6, 0.1))
    rows, file = stored(study), study.attributes["tlc:search"]
    for change, message in REFUSED.values():
        with pytest.raises(BusyStudy, match=message):
            Study.open(make_search(**{**NARROW, **change}), url)
    assert (stored(study), study.attributes["tlc:search"]) == (rows, file)


def test_what_else_depends_on_the_space_is_refused(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    fit = {"space__compression": "fit", "constraints__max_size_mb": 1.0, "name": "fit"}
    Study.open(make_search(**NARROW, **fit), url)
    more = {**NARROW, "space__quantisation": {"choices": ["none", "rtn-8", "rtn-4"]}}
    with pytest.raises(BusyStudy, match=r"space\.quantisation: is none, rtn-8, rtn-4; allowed: no"):
        Study.open(make_search(**more, **fit), url)
    deeper = Study.open(make_search(**NARROW, **fit, space__depth={"low": 1, "high": 3}), url)
    assert unused_widenings(deeper) == ["depth 1, 2 -> 1, 2, 3"]


def test_a_search_that_runs_elsewhere_is_not_changed(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    study = Study.open(make_search(**NARROW), url)
    study.exchange(LEASE, None, asdict(replace(Lease(), host="another")))
    with pytest.raises(BusyStudy, match="is running already, on another"):
        Study.open(make_search(**WIDE), url)
    assert Study.open(make_search(**NARROW), url).search.space.width.values == (32, 64)


def test_it_is_one_transaction(
    make_search: Callable[..., SearchFile], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.open(make_search(**NARROW), url)
    fill(study)
    study.exchange(MEASURED, None, [1.0, 2.0])
    rows, attributes = stored(study), study.attributes

    def died(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(parameters, "_add", died)
        with pytest.raises(KeyboardInterrupt):
            Study.open(make_search(**WIDE), url)
    assert (stored(study), study.attributes) == (rows, attributes)
    Study.open(make_search(**WIDE), url)
    # They are in the order of the models of a space.
    assert MEASURED not in study.attributes


def test_speeds_of_further_architectures_are_measured(
    make_search: Callable[..., SearchFile], url: str
) -> None:
    seconds = {"space__budget": {"unit": "seconds", "choices": [2.0, 4.0]}}
    study = Study.open(make_search(**NARROW, **seconds), url)
    asked: list[Architecture] = []

    def measure(architecture: Architecture) -> dict[str, Any]:
        asked.append(architecture)
        return {"steps_per_second": float(len(asked)), "spread": 1.0}

    study.record_speeds(known_speeds(study.space, measure, pytest.fail))
    known = dict(study.speeds.all())
    wider = Study.open(
        make_search(**{**NARROW, **seconds, "space__width": {"choices": [32, 64, 128]}}), url
    )
    recorded = wider.speeds.all()
    wider.record_speeds(known_speeds(wider.space, measure, pytest.fail, recorded.values()))
    assert len(asked) == len(set(asked)) == 6
    for each in (wider, study):
        assert each.speeds(Architecture.of(2, 128)) == 6.0
        assert {a: each.speeds.all()[a] for a in known} == known


def test_mlflow_shows_the_wider_space(
    make_search: Callable[..., SearchFile], url: str, home: Path, empty_mlflow: Path
) -> None:
    study = Study.open(make_search(**NARROW), url)
    fill(study)
    shutil.copy(empty_mlflow, home)
    where = replace(
        Locations.of(study.search.storage),
        tracking_uri=f"sqlite:///{home / 'mlflow.db'}",
        artifacts=home / "artifacts",
    )
    MlflowSync(study, where).send(with_figures=False)
    wider = Study.open(make_search(**WIDE), url)
    wider.tell_result(7, made_up_result(0.7, 0.1))
    MlflowSync(wider, where).send(with_figures=False)
    parent, nested = mlflow_runs(where, "tiny")
    assert len(nested) == 9
    tags = parent.data.tags
    assert tags["tlc.configurations"] == str(wider.space.configurations)
    assert tags["tlc.space_widened"].startswith("depth 1, 2 -> 1, 2, 3; width")
    assert tags["tlc.space_widened"].endswith("(from trial 9)")


FUNCTION: dict[str, Any] = {
    "name": "mine",
    "space": {
        "rate": {"low": 0.1, "high": 0.5, "step": 0.1},
        "tied": {"choices": [True]},
        "kind": {"choices": ["a", "b"]},
    },
    "objectives": {"accuracy": "maximize"},
    "trials": 9,
}


def function_space(**space: Any) -> FunctionSpace:
    document = {**FUNCTION, "space": {**FUNCTION["space"], **space}}
    return FunctionSpace(FunctionSearch.model_validate(document))


def test_the_space_of_a_function_may_be_wider(url: str, home: Path) -> None:
    home.mkdir()
    study = FunctionStudy.open(function_space(), url)
    result = {"score": 0.5, "accuracy": 0.5, "seconds": 1.0, "stages": {}}
    for _ in range(4):
        study.tell_result(study.ask().number, result)
    before = study.records()
    wide = function_space(
        rate={"choices": [0.1, 0.2, 0.25, 0.3, 0.4, 0.5]},
        tied={"choices": [False, True]},
        kind={"choices": ["c", "b", "a"]},
    )
    wider = FunctionStudy.open(wide, url)
    assert unused_widenings(wider) == [
        "rate 0.1, 0.2, 0.3, 0.4, 0.5 -> 0.1, 0.2, 0.25, 0.3, 0.4, 0.5; tied True -> False, True; "
        "kind a, b -> c, b, a"
    ]
    assert wider.records() == before
    for trial, record in zip(wider.optuna.get_trials(), before, strict=True):
        assert wider.configuration_from(trial.params) == record.configuration
    wider.tell_result(wider.ask().number, result)
    for change, message in (
        ({"tied": {"choices": [1, 0]}}, r"space\.tied: leaves out False \(.*, True \(\d trials\)"),
        ({"more": {"choices": [1]}}, r"space\.more: is new"),
        ({"kind": {"choices": ["a", "b"]}}, r"space\.kind: leaves out c \(.*all of c, b, a, and"),
    ):
        with pytest.raises(BusyStudy, match=message):
            FunctionStudy.open(function_space(**change), url)
