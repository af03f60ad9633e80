"""A latency that other programs disturbed is marked wherever it is shown."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from objectives.measurement.latency import Latency
from search.analysis.report.report import report_page
from search.analysis.report.report_data import ReportData
from search.cli.main import cli
from search.formatting import NOISY_LATENCY
from search.results.queries import StudyQueries
from search.storage.study import Study
from search.tracking.sync import MlflowSync
from spaces.file.storage import Locations
from tests.search.conftest import made_up_result


def latency(*, noisy: bool) -> dict[str, object]:
    latency = Latency(
        min_ms=1.2, p10_ms=1.5, p50_ms=4.0, p95_ms=9.0, spread=2.0, reference_min_ms=1.0,
        reference_p10_ms=1.2, reference_p50_ms=2.0, best_reference_min_ms=1.0,
        best_reference_p10_ms=1.0, conditions="here", noisy=noisy, batch_size=1,
        sequence_length=16, threads=1, repeats=40, warm_up=5, device="cpu", processor="x86",
    )  # fmt: skip
    return {**asdict(latency), "slowdown": latency.slowdown}


@pytest.fixture
def noisy(study: Study) -> Study:
    """A study of a trial on a quiet machine, and of a better one on a noisy one."""
    for score, is_noisy in ((0.6, False), (0.9, True)):
        result = made_up_result(score, score, latency_ms=1.25, latency=latency(noisy=is_noisy))
        study.tell_result(study.ask().number, result)
    return study


def test_the_command_line_marks_it(noisy: Study, home: Path) -> None:
    shown = {
        words: CliRunner().invoke(cli, words.split()).stdout
        for words in ("trials tiny", "frontier tiny", "best tiny", "show tiny 1", "show tiny 0")
    }
    for words in ("trials tiny", "frontier tiny", "best tiny", "show tiny 1"):
        assert "≈1.50" in shown[words], shown[words]
        assert NOISY_LATENCY in " ".join(shown[words].split()), shown[words]
    assert "≈" not in shown["show tiny 0"]
    # What was measured, and apart from it the corrected value that constraints use.
    assert "1.50 ms (p50 4.00, p95 9.00)" in shown["show tiny 0"]
    corrected = " ".join(shown["show tiny 0"].split())
    assert "1.25 ms for a slowed machine (reference model 1.20× its best)" in corrected
    assert "1.50 (corrected 1.25) ms" in shown["best tiny"]
    for words in ("trials tiny", "frontier tiny"):
        assert "ms corrected" in shown[words]
        assert "1.25" in shown[words]
    page = json.loads(CliRunner().invoke(cli, ["trials", "tiny", "--json"]).stdout)
    assert [trial["latency_noisy"] for trial in page["trials"]] == [False, True]


def test_query_results_and_the_report_mark_it(noisy: Study, home: Path) -> None:
    queries = StudyQueries(f"sqlite:///{home / 'study.db'}")
    assert [member.latency_noisy for member in queries.frontier("tiny").members] == [False, True]
    best = queries.best("tiny").trial
    assert best is not None
    assert best.latency_noisy
    page = report_page(
        ReportData(noisy.space, noisy.records(), {}, {"fingerprint": "f", "counts": {}})
    )
    assert "1 of 2: other programs disturbed them" in page
    assert "on a noisy machine" in page


def test_mlflow_has_it_as_a_tag(noisy: Study, home: Path) -> None:
    from mlflow import MlflowClient

    where = Locations.of(noisy.search.storage)
    MlflowSync(noisy, where).send(with_figures=False)
    client = MlflowClient(where.tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`tlc.latency` = 'noisy'")
    assert len(runs) == 1
    assert runs[0].data.params["depth"]
