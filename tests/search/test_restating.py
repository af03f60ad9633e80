"""A latency that was measured on a slow machine is restated once its reference was faster."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from objectives.measurement.slowdown import MeasuredCost, MeasuredTimes
from search.analysis.report.report import report_page
from search.analysis.report.report_data import ReportData
from search.cli.main import cli
from search.execution.jobs import SampledJobs
from search.execution.tuning import Callbacks, with_current_sampler
from search.results.queries import StudyQueries
from search.results.snapshot import FRESH_SECONDS
from search.samplers.base import SpaceExhaustedError, StudySampler
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.measured_costs import measured_costs
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.study import Study
from search.tracking.sync import MlflowSync
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations
from tests.search.conftest import made_up_result, mlflow_runs

SLOW = MeasuredTimes(4.0, 3.9, 1.5, 1.45, 1.5, 1.45, "here")
"""Of a model that takes 2.67 ms on a machine at its best."""
FAST = MeasuredTimes(3.5, 3.4, 1.0, 0.97, 1.0, 0.97, "here")
RESTATED = pytest.approx(4.0 / 1.5)
MADE = {"objectives": ["accuracy", "latency_ms"], "constraints__max_latency_ms": 3.6, "trials": 20}


def result(score: float, times: MeasuredTimes) -> dict[str, Any]:
    """A result as a worker reports it that knows of no faster reference."""
    latency = {
        **times._asdict(), "p50_ms": 5.0, "p95_ms": 6.0, "spread": 0.5, "noisy": False,
        "slowdown": 1.0, "reference_p50_ms": 1.6, "runtime": "torch", "batch_size": 1,
        "sequence_length": 16, "threads": 1, "repeats": 40, "warm_up": 5, "device": "cpu",
        "processor": "x86",
    }  # fmt: skip
    seconds = {"train": 4.0, "saved": 0.0, "stable": 3.0, "cooldown": 1.0, "recovery": 0.0}
    return made_up_result(
        score,
        0.1,
        latency=latency,
        latency_ms=times.p10_ms,
        seconds=seconds | {"compress": 0.1, "measure": 0.1},
    )


@pytest.fixture
def open_study(
    make_search: Callable[..., SearchFile], home: Path, empty_database: Path
) -> Callable[..., Study]:
    """Opens an empty study whose cost is latency."""
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    return lambda **fields: Study.open(
        make_search(**(MADE | fields)), f"sqlite:///{home / 'study.db'}"
    )


def test_study_answers_report_and_mlflow_show_one_restated_latency(
    open_study: Callable[..., Study], home: Path, empty_mlflow: Path
) -> None:
    shutil.copy(empty_mlflow, home / "mlflow.db")
    study, queries = open_study(), StudyQueries(f"sqlite:///{home / 'study.db'}")
    where = Locations.of(study.search.storage)
    study.tell_result(study.ask().number, result(0.9, SLOW))
    MlflowSync(study, where).send(with_figures=False)
    assert study.records()[0].result["latency_ms"] == 4.0
    # Too slow, and no other model.
    assert not queries.best("tiny").is_within
    assert queries.frontier("tiny").members == []

    study.tell_result(study.ask().number, result(0.6, FAST))
    for reader in (study, Study.load("tiny", f"sqlite:///{home / 'study.db'}")):
        restated, fast = (record.result for record in reader.records())
        assert (restated["latency_ms"], fast["latency_ms"]) == (RESTATED, 3.5)
        assert restated["latency"]["p10_ms"] == 4.0
        assert restated["latency"]["slowdown"] == 1.5
        assert restated["latency"]["noisy"]
        (first, _) = reader.optuna.get_trials()
        assert first.values == [0.9, RESTATED]
        assert first.constraints == {"latency_ms": pytest.approx(4.0 / 1.5 / 3.6 - 1.0)}

    # What was read before is not shown for longer than any other snapshot.
    time.sleep(FRESH_SECONDS)
    best = queries.best("tiny")
    assert best.is_within
    assert best.trial is not None
    assert best.trial.result["latency_ms"] == RESTATED
    (member,) = queries.frontier("tiny").members
    assert (member.latency_ms, member.latency_p10_ms, member.latency_noisy) == (RESTATED, 4.0, True)
    shown = " ".join(CliRunner().invoke(cli, ["show", "tiny", "0"]).stdout.split())
    assert "≈4.00 ms (p50 5.00, p95 6.00)" in shown
    assert "2.67 ms for a slowed machine (reference model 1.50× its best)" in shown
    page = report_page(
        ReportData(study.space, study.records(), {}, {"fingerprint": "f", "counts": {}})
    )
    assert "2.67 ms corrected" in page

    sync = MlflowSync(study, where)
    assert sync.send(with_figures=False) == 2
    _, runs = mlflow_runs(where, "tiny")
    shown_latencies = [runs[number].data.metrics["latency_ms"] for number in ("0", "1")]
    assert shown_latencies == [RESTATED, 3.5]
    assert [runs[number].data.tags["tlc.latency"] for number in ("0", "1")] == ["noisy", "quiet"]
    assert runs["0"].data.tags["on_frontier"] == "true"
    client = MlflowClient(where.tracking_uri)
    evaluation = client.download_artifacts(runs["0"].info.run_id, "evaluation.json")
    assert json.loads(Path(evaluation).read_text())["latency_ms"] == RESTATED
    assert sync.send(with_figures=False) == 0
    assert MlflowSync(study, where).send(with_figures=False) == 0


def test_only_the_same_conditions_are_restated_and_only_by_a_faster_reference(
    open_study: Callable[..., Study],
) -> None:
    study = open_study()
    for times in (SLOW, SLOW._replace(conditions="elsewhere")):
        study.tell_result(study.ask().number, result(0.9, times))
    hardly = SLOW._replace(best_reference_p10_ms=1.495, conditions="elsewhere")
    study.tell_result(study.ask().number, result(0.9, hardly))
    before = [record.result for record in study.records()]
    assert [each["latency_ms"] for each in before] == [4.0, 4.0, 4.0]
    study.tell_result(study.ask().number, result(0.9, FAST))
    after = [record.result for record in study.records()]
    assert after[0]["latency_ms"] == RESTATED
    assert after[1:3] == before[1:]
    # One that is measured on the slow machine later is corrected when it is recorded.
    study.tell_result(study.ask().number, result(0.9, SLOW))
    assert study.records()[-1].result["latency_ms"] == RESTATED


def frontier_sampler(study: Study) -> StudySampler:
    return FrontierSampler(SearchDesignSpace(study.space), seed=0)


def grid_sampler(study: Study) -> StudySampler:
    return FeasibleSampler(study.space, "grid", seed=0, trials=20)


def milliseconds(_: str, configurations: list[Configuration]) -> list[MeasuredCost]:
    """As measured on a machine that is slow throughout: the wide models seem too slow."""
    return [
        SLOW if each.architecture.width > 32 else SLOW._replace(p10_ms=2.0, min_ms=1.9)
        for each in configurations
    ]


@pytest.mark.parametrize("make", [frontier_sampler, grid_sampler])
def test_what_was_too_slow_can_be_tried_again(
    open_study: Callable[..., Study], make: Callable[[Study], StudySampler]
) -> None:
    one = {"depth": [1], "width": [64], "budget": [40], "quantisation": ["rtn-8"]}
    study = open_study(**{f"space__{name}": {"choices": each} for name, each in one.items()},
        space__group_size={"choices": [32]}, space__pruning={"choices": ["unstructured"]},
        space__sparsity={"choices": [0.0]},
    )  # fmt: skip
    study.space.measured = {"latency_ms": lambda configuration: 3.0}
    study.optuna.sampler = make(study)
    study.tell_failure(study.ask().number, "too_slow", "4 ms", latency=SLOW._asdict())
    with pytest.raises(SpaceExhaustedError):
        make(study).check(study.optuna)
    study.learn_references([FAST])
    (record,) = study.records()
    assert record.state == "outdated"
    assert "2.67 ms by a reference model that was faster later" in record.message
    study.optuna.sampler = make(study)
    assert study.ask().configuration.hash == record.configuration.hash


@pytest.mark.parametrize("make", [frontier_sampler, grid_sampler])
def test_a_running_search_goes_on_with_a_sampler_that_knows_restated_latencies(
    open_study: Callable[..., Study], make: Callable[[Study], StudySampler]
) -> None:
    study = open_study()
    study.space.measured = measured_costs(study, milliseconds)
    study.optuna.sampler = sampler = make(study)
    jobs = SampledJobs(study, sampler, trials=20, deadline=math.inf)
    changed = []
    callbacks = with_current_sampler(
        study,
        jobs,
        lambda: make(study),
        Callbacks(lambda _: True, lambda: False, on_change=changed.append, warn=print),
    )
    first = jobs.next()[0]
    assert first.configuration.architecture.width == 32
    callbacks.on_change(first)
    assert jobs.sampler is sampler
    study.tell_result(first.number, result(0.6, FAST))
    callbacks.on_change(study.record(first.number))
    assert jobs.sampler is not sampler
    assert study.optuna.sampler is jobs.sampler
    assert len(changed) == 2
    # Every model may be tried now.
    widths = {c.architecture.width for c in map(study.space.configuration, study.space.points())
        if study.space.is_feasible(c)}  # fmt: skip
    assert max(widths) > 32
    assert jobs.next()[0].configuration.hash != first.configuration.hash
