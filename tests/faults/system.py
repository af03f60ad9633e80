"""The system under test: a real search in its own home, with an event log and injected faults."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from spaces.file.search_file import SearchFile
from spaces.loading import validate
from tests.faults.event_log import EventLog, Step
from tests.faults.processes import descendants, is_alive, kill_tree
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
INJECTED = Path(__file__).parent / "injected"
RUN_SECONDS = 300.0


@dataclass(frozen=True)
class FaultTime:
    """The state of the system when a fault was injected.

    Args:
        since: Time by the monotonic clock.
        steps: Number of steps trained before.
        before: Processes that had trained before.
        worker_of: The affected worker that trained a path.
    """

    since: float
    steps: int
    before: set[int]
    worker_of: dict[str, int]

    def is_recovery(self, step: Step) -> bool:
        """Whether a step shows that training has continued."""
        return step.pid not in self.before or step.pid != self.worker_of.get(step.path, step.pid)


@dataclass
class SystemUnderTest:
    """A search under test.

    Args:
        folder: An empty folder.
        document: The search file, as a dictionary; change it before the first start.
        seed: Seed of the random choices of the test.
    """

    folder: Path
    document: dict[str, Any]
    seed: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    recovery_seconds: float = 0.0
    _fault: FaultTime = field(default_factory=lambda: FaultTime(0.0, 0, set(), {}), init=False)

    @cached_property
    def temporary(self) -> Path:
        """Folder of temporary files and machine-wide locks; short, as Ray puts sockets there."""
        return Path(tempfile.mkdtemp(prefix="tlc-"))

    @cached_property
    def rng(self) -> random.Random:
        """The random generator of the seed."""
        return random.Random(self.seed)

    @property
    def name(self) -> str:
        """Name of the search."""
        return str(self.document["name"])

    @property
    def search(self) -> SearchFile:
        """The search file."""
        return validate(self.document)

    @property
    def home(self) -> Path:
        """TLC_HOME."""
        return self.folder / "home"

    @property
    def store(self) -> Path:
        """The folder of checkpoints and models."""
        given = self.document.get("storage", {}).get("store")
        return Path(given) if given else self.home / "store"

    @property
    def study_url(self) -> str:
        """URL of the study."""
        given = self.document.get("storage", {}).get("study")
        return str(given) if given else f"sqlite:///{self.home / 'study.db'}"

    @property
    def tracking_uri(self) -> str:
        """URI of MLflow."""
        given = self.document.get("storage", {}).get("mlflow")
        return str(given) if given else f"sqlite:///{self.home / 'mlflow.db'}"

    @cached_property
    def events(self) -> EventLog:
        """The event log, which is independent of tlc's own record."""
        return EventLog(self.folder / "events.log")

    @property
    def output(self) -> str:
        """The output of all started commands."""
        path = self.folder / "out.txt"
        return path.read_text() if path.exists() else ""

    def environment(self, faults: dict[str, Any] | None = None, **extra: str) -> dict[str, str]:
        """The environment of the processes under test."""
        kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        return {
            **kept,
            "TLC_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "TLC_STEP_LOG": str(self.events.path),
            "TLC_EVENT_LOG": str(self.events.path),
            "TLC_FAULTS": json.dumps(faults or {}),
            "PYTHONPATH": os.pathsep.join([str(INJECTED), str(ROOT)]),
            **extra,
        }

    def write(self) -> str:
        """Write the search file; returns its name."""
        (self.folder / "search.yaml").write_text(yaml.safe_dump(self.document))
        return "search.yaml"

    def start(
        self, *words: str, faults: dict[str, Any] | None = None, **extra: str
    ) -> subprocess.Popen[bytes]:
        """Start a ``tlc`` command, by default the search; its output goes to ``out.txt``.

        Args:
            words: The command and its arguments; by default ``run`` with the search file.
            faults: Faults to inject: names and arguments from ``injected/faults.py``.
            extra: Environment variables.
        """
        words = words or ("run", self.write())
        with (self.folder / "out.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "search.cli", *words],
                env=self.environment(faults, **extra),
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[bytes] | None = None, *, code: int = 0) -> None:
        """Wait for the end of a command, or run the search to its end.

        Raises:
            AssertionError: It ended with another exit code.
        """
        process = process or self.start()
        found = process.wait(timeout=RUN_SECONDS)
        assert found == code, f"exit code {found}, not {code}:\n{self.output[-3000:]}"

    def tlc(self, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, without event log and faults."""
        return subprocess.run(
            [sys.executable, "-m", "search.cli", *words],
            env={**self.environment(**extra), "TLC_EVENT_LOG": ""},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def query(self, *words: str) -> Any:
        """The JSON output of a command; an empty list if it found nothing."""
        done = self.tlc(*words, "--json")
        assert done.returncode in (0, 3), f"tlc {' '.join(words)}: {done.stderr[-2000:]}"
        return json.loads(done.stdout) if done.stdout.strip() else []

    def mlflow_runs(self) -> list[Any]:
        """The MLflow runs of the search's trials."""
        from mlflow import MlflowClient

        client = MlflowClient(self.tracking_uri)
        experiment = client.get_experiment_by_name(self.name)
        if experiment is None:
            return []
        runs, token = [], None
        while True:
            page = client.search_runs([experiment.experiment_id], page_token=token)
            runs.extend(page)
            token = page.token
            if not token:
                return [run for run in runs if "tlc.key" in run.data.tags]

    def finished(self) -> int:
        """Number of trials whose result the study has committed."""
        return sum(line[0] == "committed" for line in self.events.lines())

    def wait_finished(self, count: int) -> None:
        """Wait until a number of trials have ended."""
        wait_for(f"{count} trials\n{self.output[-2000:]}", lambda: self.finished() >= count)

    def wait_steps(self, more: int = 1) -> int:
        """Wait for a number of optimiser steps; returns the process of the last step."""
        before = len(self.events.steps())
        wait_for(
            f"{more} more steps\n{self.output[-2000:]}",
            lambda: len(self.events.steps()) >= before + more,
        )
        return self.events.steps()[-1].pid

    def fault_injected(self, *workers: int) -> None:
        """Record that a fault is injected now, into some workers or into all."""
        steps = self.events.steps()
        self._fault = FaultTime(
            time.monotonic(),
            len(steps),
            {step.pid for step in steps},
            {step.path: step.pid for step in steps if step.pid in workers},
        )

    def wait_for_recovery(self) -> None:
        """Wait until a new process trains a step, or another process continues the training of an
        affected worker; records the time since the fault."""
        fault = self._fault
        wait_for(
            f"a recovery\n{self.output[-2000:]}",
            lambda: any(map(fault.is_recovery, self.events.steps()[fault.steps :])),
        )
        self.recovered(time.monotonic() - fault.since)

    def recovered(self, seconds: float) -> None:
        """Record the time of a recovery; the longest counts."""
        self.recovery_seconds = max(self.recovery_seconds, seconds)

    def close(self) -> None:
        """Kill all processes that are left."""
        left = [child.pid for process in self.started for child in descendants(process.pid)]
        for process in self.started:
            kill_tree(process.pid)
            process.wait()
        for pid in left:
            if is_alive(pid):
                kill_tree(pid)
        shutil.rmtree(self.temporary, ignore_errors=True)
