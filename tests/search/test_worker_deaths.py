"""How the workers of trials die, and how often trials are continued."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import tlc
from search.execution import trial_retries
from search.execution.trial_retries import Death, Deaths, Place, death_of
from spaces.file.resources import Retries
from tests.search.conftest import connected_to_ray

CHECKPOINTS = 6


def at(step: int, path: str = "one") -> str:
    return f"checkpoints/{path}/{step:08d}"


@pytest.mark.parametrize(
    ("deaths", "continues"),
    [
        pytest.param([("worker_died", "")] * 3, [True, True, False], id="no progress"),
        pytest.param([("hung", "")] * 2, [True, False], id="limits differ"),
        pytest.param(
            [("worker_died", at(step)) for step in (10, 20, 30, 40, 50)],
            [True] * 5,
            id="later checkpoints",
        ),
        pytest.param(
            [("worker_died", at(20))] + [("worker_died", at(step)) for step in (10, 20, 15)],
            [True, True, False, False],
            id="checkpoints that were stored before",
        ),
        pytest.param(
            [("hung", at(20)), ("hung", at(10, "two")), ("hung", "")],
            [True, True, False],
            id="another path",
        ),
        pytest.param(
            [("node_lost", ""), ("worker_died", ""), ("worker_died", ""), ("node_lost", "")],
            [True] * 4,
            id="causes count apart",
        ),
    ],
)
def test_a_trial_is_continued_as_often_as_its_file_says_without_progress(
    deaths: list[tuple[str, str]], continues: list[bool]
) -> None:
    counted = Deaths(Retries())
    assert [
        counted.may_continue(1, Death(state, "", stored=stored)) for state, stored in deaths
    ] == continues
    assert counted.may_continue(2, Death("hung", ""))


def test_kills_by_the_kernel_are_those_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, container = tmp_path / "vmstat", tmp_path / "memory.events"
    machine.write_text("pgfault 12\noom_kill 7\nzswpin 0\n")
    monkeypatch.setattr(trial_retries, "KERNEL_COUNTERS", (str(container), str(machine)))
    assert trial_retries.kernel_kills() == 7
    container.write_text("oom 5\noom_kill 2\noom_group_kill 0\n")
    assert trial_retries.kernel_kills() == 2


@pytest.fixture(scope="module")
def in_ray(
    empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pytest.MonkeyPatch]:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch, connected_to_ray():
        patch.setenv("TLC_HOME", str(home))
        for name in ("MLFLOW_TRACKING_URI", "TLC_STUDY"):
            patch.delenv(name, raising=False)
        yield patch


def dies(trial: Any) -> dict[str, float]:
    """Stores checkpoints, and dies after each, or after the first."""
    found = trial.latest_checkpoint("work")
    step = 0 if found is None else found.step
    if step < (CHECKPOINTS if trial.how == "goes on" else 1):
        trial.checkpoint("work", step + 1, lambda folder: (folder / "state").write_text("state"))
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.how == "stays":
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.how == "crashes":
        ctypes.string_at(0)
    return {"accuracy": step}


@pytest.mark.slow
def test_deaths_after_progress_do_not_count_and_others_end_the_trial_with_their_cause(
    in_ray: pytest.MonkeyPatch,
) -> None:
    results = tlc.run(
        {
            "name": "deaths",
            "space": {"how": {"choices": ["goes on", "stays", "crashes"]}},
            "objectives": {"accuracy": "maximize"},
            "sampler": "grid",
            "trials": 3,
            "concurrency": 1,
            "resources": {"retries": {"worker_died": 1}},
        },
        objective=dies,
    )
    trials = {row["how"]: row for _, row in results.trials().iterrows()}
    assert trials["goes on"]["state"] == "complete"
    assert trials["goes on"]["accuracy"] == CHECKPOINTS
    assert trials["stays"]["state"] == trials["crashes"]["state"] == "worker_died"
    killed, crashed = trials["stays"]["message"], trials["crashes"]["message"]
    assert killed == "its process was killed, and left no trace of why; not retried"
    assert crashed == "its process crashed: Segmentation fault; not retried"
    assert "in dies" in results.trial(2).traceback


class Unloadable:
    """Loads where it was made, and on no node."""

    def __reduce__(self) -> Any:
        return __import__, ("no_such_module",)


class Worker:
    """A worker that does something to itself."""

    def __init__(self, setup: object) -> None:
        pass

    def place(self) -> Place:
        return Place.here()

    def run(self, function: Callable[[], object]) -> None:
        function()


def exits() -> None:
    raise SystemExit(3)


def raises() -> None:
    raise OSError("no such device")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setup", "function", "state", "message"),
    [
        (None, exits, "worker_died", "exit code 3"),
        (None, raises, "error", "OSError: no such device"),
        (None, Unloadable(), "error", "ModuleNotFoundError: No module named 'no_such_module'"),
        (Unloadable(), raises, "error", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_the_cause_that_ray_gives_is_kept(
    in_ray: pytest.MonkeyPatch, setup: Any, function: Any, state: str, message: str
) -> None:
    import ray

    worker = ray.remote(Worker).remote(setup)
    place = None if setup else ray.get(worker.place.remote())
    with pytest.raises(ray.exceptions.RayError) as raised:
        ray.get(worker.run.remote(function))
    death = death_of(raised.value, "", place)
    assert (death.state, message in death.message) == (state, True), death
    assert state == "worker_died" or message in death.traceback


def grows(trial: Any) -> dict[str, float]:
    """Occupies three gigabytes, or none."""
    held = []
    if trial.how == "large":
        for _ in range(60):
            held.append(bytearray(50_000_000))
            time.sleep(0.05)
    return {"accuracy": float(len(held))}


LIMITED = """
import tlc
from tests.search.test_worker_deaths import grows
space = {"how": {"choices": ["large", "small"]}}
results = tlc.run(
    {"name": "memory", "space": space, "objectives": {"accuracy": "maximize"}, "sampler": "grid",
     "trials": 2, "concurrency": 1},
    objective=grows,
)
print(results.trials()[["state", "message"]].to_json(orient="values"))
"""


@pytest.mark.slow
def test_a_worker_that_ray_kills_for_lack_of_memory_ends_its_trial_alone(tmp_path: Path) -> None:
    memory = psutil.virtual_memory()
    allowed = (memory.total - memory.available + 1.5e9) / memory.total
    limit = {"RAY_memory_usage_threshold": f"{allowed:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        env={**os.environ, **limit, "TLC_HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    large, small = json.loads(done.stdout.splitlines()[-1])
    assert large[0] == "oom"
    assert large[1].startswith("killed by Ray for lack of memory: Memory on the node")
    assert small[0] == "complete"
