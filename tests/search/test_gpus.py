"""GPUs of a cluster; Ray's resources stand for them, for there is none here."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tlc
from search.execution.gpus.discovery import on_connected_cluster
from search.execution.listener import Listener
from search.execution.run import run
from search.storage.function_study import FunctionStudy
from search.storage.study import Study
from spaces.file.resources import Resources
from spaces.loading import validate
from tests.search.conftest import Tlc, connected_to_ray

SEARCH = {
    "space": {"depth": {"low": 1, "high": 8}},
    "objectives": {"visible": "maximize"},
    "trials": 8,
    "concurrency": 2,
}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[Path]:
    """A home, and a Ray with two GPUs that this process is connected to."""
    home = tmp_path_factory.mktemp("gpus")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch, connected_to_ray(num_gpus=2):
        patch.setenv("TLC_HOME", str(home))
        for name in ("MLFLOW_TRACKING_URI", "TLC_STUDY"):
            patch.delenv(name, raising=False)
        yield home


def visible(trial: Any) -> Mapping[str, float]:
    """Characters of what a trial sees of GPUs; the second one fails."""
    if trial.number == 1:
        raise ArithmeticError
    time.sleep(0.2)
    return {"visible": len(os.environ.get("CUDA_VISIBLE_DEVICES", "all of them"))}


def test_a_trial_without_gpus_sees_none() -> None:
    results = tlc.run({**SEARCH, "name": "without", "trials": 1}, objective=visible)
    assert list(results.trials()["visible"]) == [0]


@pytest.mark.slow
def test_trials_pay_for_their_gpus_until_the_gpu_hours_are_used_up(home: Path) -> None:
    search = {**SEARCH, "name": "budget", "resources": {"gpus": 0.5}, "gpu_hours": 1e-6}
    tlc.run(search, objective=visible)
    results = tlc.run(search, objective=visible)
    assert list(results.trials()["visible"].dropna()) == [len("0")]
    records = FunctionStudy.load("budget", f"sqlite:///{home / 'study.db'}").records()
    assert [record.state for record in records] == ["complete", "error"]
    for record in records:
        assert record.occupied.gpus == 0.5
        assert (0.1 if record.is_complete else 0.0) < record.occupied.gpu_seconds < 30
    shown = Tlc(home.parent).ask("show", "budget", TLC_HOME=str(home)).stdout
    assert "the budget of 1e-06 GPU-hours is used up, after 2 trials" in shown
    assert "GPU-hours: 0.00" in shown


def test_a_cluster_decides_how_trials_share_its_gpus() -> None:
    def decided(concurrency: int | None = None, **given: Any) -> tuple[Any, ...]:
        resources = on_connected_cluster(Resources(**given), concurrency)
        return resources.gpus, resources.gpu_memory_gb, resources.trials_per_gpu

    # Two cores for two GPUs: no two trials share one, while the other one idles.
    assert decided(gpu_memory_gb=24) == (None, 24, 1)
    assert decided(gpu_memory_gb=24, trials_per_gpu=3) == (None, 24, 3)
    assert decided(gpus=0.0, gpu_memory_gb=24) == (0.0, 24, None)
    assert decided(gpus=0.25) == (0.25, None, None)


@pytest.mark.slow
def test_a_search_gives_gpus_to_its_trials_by_default(
    document: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    lines = []

    class Lines(Listener):
        def info(self, line: str) -> None:
            lines.append(line)

    search = {**document, "name": "by-default", "trials": 2, "concurrency": 2}
    resources = {"gpu_memory_gb": 24, "trials_per_gpu": 2}
    outcome = run(validate({**search, "resources": resources}), Lines())
    assert [r.occupied.gpus for r in outcome.study.records() if r.is_complete] == [0.5] * 2
    assert "2 trials share a GPU of 24 GB" in lines
    # What was decided is that of this run alone.
    assert Study.load("by-default", f"sqlite:///{home / 'study.db'}").search.resources.gpus is None
    whole = run(validate({**search, "trials": 3}), Lines()).study.records()[2]
    assert whole.occupied.gpus == 1.0
    assert any("memory of a GPU is not known" in line for line in lines)
    assert "GPUs of a trial: 1" in lines
