"""The trials that the claims need, and the command on studies."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from search.analysis.claims.missing_trials import missing_trials
from search.analysis.claims.observations import observe
from search.cli.main import cli
from search.execution.jobs import enqueue
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.states import OUTDATED
from search.storage.study import Study
from search.storage.trials import CONFIGURATION
from spaces.cost.compression import Compression
from spaces.cost.size import size_bytes
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_result


def _measure(study: Study, seed: int = 0) -> None:
    """Trials of a study with made-up results: larger and longer trained models are better."""
    rng = np.random.default_rng(seed)
    space = study.space
    for addition in missing_trials(space, study.records()):
        study.optuna.enqueue_trial(addition.parameters)
        record = study.ask()
        one = record.configuration
        assert one == addition.configuration
        flops = space.training_flops(one.budget, one.architecture)
        dense_bytes = size_bytes(one.architecture, space.workload_of(""), Compression())
        bits = one.compression.quantisation.bits
        loss = 2.0 * (dense_bytes * one.budget) ** -0.05 * math.exp(rng.normal(0, 0.01))
        dense = 1.0 - loss / 2.5
        result = made_up_result(
            dense * (1 - 0.5 / bits),
            dense_bytes * bits / 32e6,
            dense_size_bytes=dense_bytes,
            dense_score=dense,
            dense_loss=loss,
            examples=10_000,
            training_flops=flops,
            dense_training_flops=flops,
            seconds={
                **dict.fromkeys(("train", "saved", "compress", "measure"), 1.0),
                **{"stable": flops / 1e9, "cooldown": flops / 4e9, "recovery": 0.0},
            },
        )
        assert study.tell_result(record.number, result)


def test_missing_trials_are_every_model_once_and_the_ladder_at_the_longest(study: Study) -> None:
    additions = missing_trials(study.space, [])
    configurations = [addition.configuration for addition in additions]
    hashes = [configuration.hash for configuration in configurations]
    assert len(set(hashes)) == len(hashes)
    models = {(c.architecture, c.budget) for c in configurations}
    assert len(models) == 4 * 2
    assert len({c.compression for c in configurations if c.budget == 40.0}) >= 5
    first = [(c.architecture, c.budget) for c in configurations[: len(models)]]
    assert set(first) == models
    _measure(study)
    assert missing_trials(study.space, study.records()) == []


def test_an_outdated_trial_is_missing_and_enqueued_once(study: Study) -> None:
    additions = missing_trials(study.space, [])[:2]
    for addition, state in zip(additions, ("hung", OUTDATED), strict=True):
        study.optuna.enqueue_trial(addition.parameters)
        study.tell_failure(study.ask().number, state, "")
    hashes = {each.configuration.hash for each in missing_trials(study.space, study.records())}
    assert [each.configuration.hash in hashes for each in additions] == [False, True]
    for _ in range(2):
        assert enqueue(study, [additions[1].parameters]) == 1
    assert study.ask().configuration == additions[1].configuration
    assert not study.has_enqueued


def test_a_large_space_is_sampled(make_search: Callable[..., SearchFile]) -> None:
    from spaces.grid.search_space import SearchSpace

    search = make_search(
        space__depth={"low": 1, "high": 12},
        space__width={"low": 32, "high": 512, "step": 32},
        space__budget={"unit": "steps", "choices": [20, 40, 80, 160, 320, 640]},
    )
    additions = missing_trials(SearchSpace(search), [])
    assert len({a.configuration.architecture for a in additions}) == 5
    assert len({a.configuration.budget for a in additions}) == 4
    assert len(additions) < 60


def test_the_command_writes_the_report_and_logs_it(
    study: Study, home: Path, empty_mlflow: Path
) -> None:
    from mlflow import MlflowClient

    _measure(study)
    shutil.copy(empty_mlflow, home / "mlflow.db")
    printed = CliRunner().invoke(cli, ["claims", "tiny", "--json"], catch_exceptions=False)
    assert printed.exit_code == 0
    found: dict[str, Any] = json.loads(printed.stdout)
    assert [claim["claim"] for claim in found["claims"]] == list(range(1, 11))
    folder = home / "reports" / "tiny"
    assert found["report"] == str(folder / "claims.html")
    assert "data:image/png;base64," in (folder / "claims.html").read_text()
    assert "![Larger is better at equal steps](claims-2.png)" in (folder / "claims.md").read_text()
    assert (folder / "claims-2.png").read_bytes().startswith(b"\x89PNG")
    assert found["is_tracked"]
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`tlc.key` LIKE '%/parent'")
    names = {file.path for file in client.list_artifacts(runs[0].info.run_id, "claims")}
    assert {"claims/claims.html", "claims/claims.md", "claims/claims-2.png"} <= names


def test_searches_of_other_seeds_are_pooled_and_others_refused(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    one, two, same, other = (
        Study.open(make_search(name=name, **fields), url)
        for name, fields in (
            ("one", {}),
            ("two", {"seed": 1}),
            ("same", {}),
            ("other", {"seed": 2, "training__warmup_fraction": 0.2}),
        )
    )
    for study in (one, two):
        _measure(study)
    assert observe([one, two]).seeds == (0, 1)
    with pytest.raises(UserError, match="differ in training"):
        observe([one, other])
    with pytest.raises(UserError, match="same seed"):
        observe([one, same])


def test_seconds_of_budgets_in_seconds_are_those_of_the_measured_speed(study: Study) -> None:
    stages = [
        {"name": "stable", "steps": 80, "seconds": 9.0},
        {"name": "decay", "steps": 20, "seconds": 1.0},
        {"name": "fine-tuning", "steps": 30, "seconds": 3.0},
    ]
    seconds = {"stable": 9.0, "cooldown": 4.0, "recovery": 2.0}
    for speed in (None, 50.0):
        record = study.ask()
        result = made_up_result(0.5, 0.1, stages=stages, seconds=seconds, steps_per_second=speed)
        assert study.tell_result(record.number, result)
    found = observe([study]).compressed
    assert [each.seconds for each in found] == [15.0, 100 / 50 + 3.0 + 2.0]


def test_enqueued_trials_have_no_configuration_until_they_are_asked_for(study: Study) -> None:
    addition = missing_trials(study.space, [])[0]
    study.optuna.enqueue_trial(addition.parameters)
    assert study.records() == []
    record = study.ask()
    assert record.configuration == addition.configuration
    assert CONFIGURATION in study.optuna.trials[record.number].user_attrs


def test_enqueued_trials_are_run_beside_those_of_the_file(study: Study) -> None:
    from ray.tune.search import Searcher

    from search.execution.gpus.meter import GpuMeter
    from search.execution.jobs import SampledJobs
    from search.execution.searcher import StudySearcher
    from search.execution.trial_retries import Death
    from spaces.file.resources import Retries

    study.tell_result(study.ask().number, made_up_result(0.6, 0.1))
    addition = missing_trials(study.space, study.records())[0]
    study.optuna.enqueue_trial(addition.parameters)
    sampler = FeasibleSampler(study.space, "random", seed=0, trials=1)
    study.optuna.sampler = sampler
    searcher = StudySearcher(
        study,
        SampledJobs(study, sampler, trials=1, deadline=math.inf),
        unfinished=[],
        death_of=lambda _: Death("error", ""),
        retries=Retries(),
        meter=GpuMeter([], None),
        may_start=lambda _: True,
        on_change=lambda _: None,
        warn=print,
    )
    job = searcher.suggest("one")
    assert isinstance(job, dict)
    assert job["configurations"] == [addition.configuration.to_dict()]
    outcome = {"state": "complete", "result": made_up_result(0.7, 0.1), "curve": []}
    (number,) = job["numbers"]
    searcher.on_trial_complete("one", {"number": number, "outcome": json.dumps(outcome)})
    assert searcher.suggest("two") == Searcher.FINISHED
