"""Studies with synthetic results, and one real finished search."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from search.cli.main import main
from search.execution.cluster import _private_token
from search.process_state import signals_kept
from search.storage.database import open_database
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, sqlite_url
from spaces.grid.search_space import SearchSpace
from tests.search.browser import browser
from tests.waiting import is_served, wait_for

__all__ = ["browser"]


def made_up_result(score: float, size_mb: float, **fields: Any) -> dict[str, Any]:
    """A synthetic result in the format of a worker."""
    return {
        "metric": "accuracy",
        "score": score,
        "score_low": score - 0.03,
        "score_high": score + 0.03,
        "examples": 100,
        "loss": 1.0 - score,
        "dense_score": score,
        "dense_loss": 1.0 - score,
        "size_mb": size_mb,
        "size_bytes": round(size_mb * 1e6),
        "predicted_size_bytes": round(size_mb * 1e6),
        "dense_size_bytes": round(size_mb * 4e6),
        "compression_ratio": 4.0,
        "latency_ms": 10 * size_mb,
        "flops": round(1e6 * size_mb),
        "parameters": 1000,
        "training_flops": 10**9,
        "dense_training_flops": 10**9,
        "steps": {"total": 100, "trained": 40, "reused": 60},
        "stages": [
            {
                "name": "stable",
                "steps": 100,
                "epochs": 1.5,
                "tokens": 100_000,
                "seconds": 4.0,
                "held_out": [],
                "best_epoch": None,
            }
        ],
        "seconds": {"train": 4.0, "saved": 6.0, "compress": 0.1, "measure": 0.1},
        "model": "models/m",
        "checkpoint": "checkpoints/c/00000040",
        **fields,
    }


def made_up_reference(name: str, score: float, size_mb: float) -> dict[str, Any]:
    """Values of a reference in the format of a worker."""
    scored = {"score": score, "score_low": score - 0.02, "score_high": score + 0.02}
    values = {**scored, "examples": 100, "loss": None}
    return {
        "name": name,
        "description": f"{name}; 4 bytes for each weight",
        "size_bytes": round(size_mb * 1e6),
        "scores": {"validation": values, "test": {**values, "score": score - 0.01}},
    }


def feasible_hashes(space: SearchSpace) -> set[str]:
    """Hashes of the feasible configurations."""
    return {c.hash for c in map(space.configuration, space.points()) if space.is_feasible(c)}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of studies with its tables, whose creation takes longer than many tests."""
    path = tmp_path_factory.mktemp("studies") / "study.db"
    open_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def study(make_search: Callable[..., SearchFile], home: Path, empty_database: Path) -> Study:
    """An empty study."""
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    return Study.open(make_search(trials=20), f"sqlite:///{home / 'study.db'}")


@dataclass(frozen=True)
class Tlc:
    """The command line in its own folder.

    A call starts a process, as users do. ``ask`` runs a command that only reads in this process,
    because its imports would take most of the time.
    """

    folder: Path

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of the command: all of its files are in the folder."""
        kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        return {**kept, "TLC_HOME": str(self.folder / "home"), **extra}

    def __call__(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "search.cli", *arguments],
            env=self.environment(**extra),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def ask(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in this process."""
        output, errors = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, self.environment(**extra), clear=True),
            patch.object(sys, "argv", ["tlc", *arguments]),
            chdir(self.folder),
            redirect_stdout(output),
            redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        """Start a command; its output goes to ``out.txt``."""
        with (self.folder / "out.txt").open("a") as output:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "search.cli", *arguments],
                env=self.environment(**extra),
                cwd=self.folder,
                stdout=output,
                stderr=output,
                text=True,
            )

    @contextmanager
    def serving(self, *options: str, **extra: str) -> Iterator[tuple[str, int]]:
        """Start a service on a free port; gives its URL and its process."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "search.cli", "serve", "--port", "0", *options],
            env=self.environment(PYTHONUNBUFFERED="1", **extra),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield found[0], process.pid
        finally:
            process.terminate()
            process.wait(timeout=20)

    @contextmanager
    def ready(self, *options: str, **extra: str) -> Iterator[str]:
        """Start a service on a free port, and wait until it is ready; gives its URL."""
        with self.serving(*options, **extra) as (url, _):
            wait_for("the service", lambda: is_served(f"{url}/ready"), 60, every=0.1)
            yield url

    def add_modules_of_the_same_names(self) -> None:
        """Write modules with the names of tlc's packages; importing them fails."""
        raising = "raise ImportError('a module of the user was imported')"
        (self.folder / "search.py").write_text(raising)
        for package in ("spaces", "objectives"):
            (self.folder / package).mkdir()
            (self.folder / package / "__init__.py").write_text(raising)

    def write(self, document: dict[str, Any], **fields: Any) -> str:
        """Write a search file, with top-level fields replaced; returns its name."""
        (self.folder / "search.yaml").write_text(yaml.safe_dump({**document, **fields}))
        return "search.yaml"

    @property
    def study_url(self) -> str:
        """URL of its studies."""
        return sqlite_url(self.folder / "home" / "study.db")

    def study(self, name: str = "tiny") -> Study:
        """The current study of a search."""
        return Study.load(name, self.study_url)


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, whose creation takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def mlflow_runs(where: Locations, name: str) -> tuple[Any, dict[str, Any]]:
    """The parent run of a search in MLflow, and the nested runs by trial number."""
    from mlflow import MlflowClient

    client = MlflowClient(where.tracking_uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    nested = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in found if run not in nested]
    numbers = [run.data.tags["tlc.key"].rpartition("/")[2] for run in nested]
    assert len(set(numbers)) == len(numbers)
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}
    return parent, dict(zip(numbers, nested, strict=True))


CPUS = 2


@contextmanager
def connected_to_ray(num_gpus: int = 0) -> Iterator[None]:
    """A Ray with ``CPUS`` cores that this process is connected to: searches start none.

    Args:
        num_gpus: GPUs that it takes itself to have.
    """
    import ray

    # As for a Ray that tlc starts: Ray's own token would be a file in the home of the user.
    with _private_token(), signals_kept():
        ray.init(
            "local",
            num_cpus=CPUS,
            num_gpus=num_gpus,
            object_store_memory=10**8,
            include_dashboard=False,
            log_to_driver=False,
        )
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture
def mlflow_made(tlc: Tlc, empty_mlflow: Path) -> None:
    """Put the empty database into the home of the command line."""
    _put_mlflow(empty_mlflow, tlc)


def _put_mlflow(empty_mlflow: Path, tlc: Tlc) -> None:
    (tlc.folder / "home").mkdir()
    shutil.copy(empty_mlflow, tlc.folder / "home" / "mlflow.db")


@pytest.fixture
def tlc(tmp_path: Path) -> Tlc:
    """The command line with a fresh home."""
    return Tlc(tmp_path)


@pytest.fixture(scope="session")
def finished(
    document: dict[str, Any], empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> Tlc:
    """A finished real search of eight trials, in a folder with modules named as tlc's packages.

    Its trials run one after another, because a further worker process would take more time than
    its trials do. None is in static int8, whose graph takes seconds.
    """
    tlc = Tlc(tmp_path_factory.mktemp("finished"))
    tlc.add_modules_of_the_same_names()
    _put_mlflow(empty_mlflow, tlc)
    space = {**document["space"], "quantisation": {"choices": ["none", "rtn-8", "rtn-4"]}}
    file = tlc.write(document, space=space, trials=8, seeds=2, concurrency=1)
    completed = tlc("run", file)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    (tlc.folder / "run.txt").write_text(completed.stdout)
    return tlc
