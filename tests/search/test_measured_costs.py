"""A search with a cost that only some searches have: from the measurement to every answer."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from objectives.measurement.slowdown import MeasuredTimes
from objectives.several_checkpoints import Objectives
from search.analysis.report.report import report_page
from search.analysis.report.report_data import ReportData
from search.api.results import Results
from search.cli.main import cli
from search.plots.figures import write_figures
from search.replay.table import Table
from search.replay.table_export import write_table
from search.results.queries import StudyQueries
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.measured_costs import measured_costs
from search.storage.errors import StudyError
from search.storage.study import Study
from search.tracking.trial_run import trial_metrics
from spaces.file.search_file import SearchFile


@pytest.fixture
def study(make_task_search: Callable[..., SearchFile], home: Path, empty_database: Path) -> Study:
    """Two trials of a search for language models that write fast."""
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    search = make_task_search(
        "causal-lm",
        objectives=["perplexity", "token_ms"],
        constraints={"max_token_ms": 1e4},
        space={
            "depth": {"choices": [1, 2]}, "width": 32, "budget": {"unit": "steps", "choices": [10]}
        },
        trials=2,
    )  # fmt: skip
    study, objectives = Study.open(search, f"sqlite:///{home / 'study.db'}"), Objectives(search)
    study.space.measured = measured_costs(
        study, lambda name, points: [objectives.untrained_cost(name, point) for point in points]
    )
    study.optuna.sampler = FrontierSampler(SearchDesignSpace(study.space), seed=0)
    for _ in range(2):
        record = study.ask()
        ((_, outcome),) = objectives.evaluate_each([record.configuration])
        study.tell_result(record.number, outcome.to_dict())
    return study


def test_every_answer_has_the_time_of_a_token(study: Study, home: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    shallow, deep = sorted(study.records(), key=lambda r: r.configuration.architecture.depth)
    times = {r.number: r.result["token_ms"] for r in (shallow, deep)}
    assert study.optuna.get_trials()[deep.number].values[1] == times[deep.number]
    queries = StudyQueries(url)
    members = queries.frontier("causal").members
    assert {
        each.trial: each.measured_costs["token_ms"] for each in members
    }.items() <= times.items()
    assert queries.trials("causal", order="token_ms").trials[0].result["token_ms"] == min(
        times.values()
    )
    between = min(times.values()) * 1.0001
    found = CliRunner().invoke(cli, ["best", "causal", "--max-token-ms", str(between), "--json"])
    assert found.exit_code == 0, found.output
    assert f'"token_ms": {min(times.values())}' in found.output
    with pytest.raises(StudyError, match="did not measure example_ms; it has size_mb, latency_ms"):
        Results("causal", url).best(max_example_ms=1.0)
    frame = Results("causal", url).trials()
    assert dict(frame["token_ms"]) == times
    (metric,) = [m.value for m in trial_metrics(deep, []) if m.key == "token_ms"]
    assert metric == times[deep.number]
    write_figures(study, tmp_path)
    assert "time per token" in (tmp_path / "frontier.html").read_text()
    shown = CliRunner().invoke(cli, ["frontier", "causal"]).stdout
    assert "token ms" in shown
    shown = CliRunner().invoke(cli, ["show", "causal", str(deep.number)]).stdout
    assert "8 tokens read and 8 written" in " ".join(shown.split())
    page = report_page(ReportData(study.space, study.records(), {}, study.data))
    assert "8 tokens read and 8 written" in page

    table = io.StringIO()
    write_table(study, table)
    lines = list(csv.DictReader(io.StringIO(table.getvalue())))
    assert sorted(float(line["token_ms"]) for line in lines) == pytest.approx(
        sorted(times.values()), abs=1e-4
    )
    (tmp_path / "causal.csv").write_text(table.getvalue())
    assert "token_ms" not in Table.read(tmp_path / "causal.csv").levels


def test_the_time_of_a_token_is_restated_with_latency(study: Study) -> None:
    before = study.records()[0].result
    times = MeasuredTimes.of(before["measured_costs"]["token_ms"])
    faster = {
        "best_reference_p10_ms": times.best_reference_p10_ms / 2,
        "best_reference_min_ms": times.best_reference_min_ms / 2,
    }
    study.learn_references([times._replace(**faster)])
    after = study.records()[0].result
    assert after["token_ms"] < before["token_ms"]
    assert after["latency_ms"] < before["latency_ms"]
    details = after["measured_costs"]["token_ms"]
    assert (details["p10_ms"], details["noisy"]) == (times.p10_ms, True)
    assert study.optuna.get_trials()[0].values == [after["score"], after["token_ms"]]
