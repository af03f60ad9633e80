"""The arena: a real search in a home of its own, watched by a witness, with faults on request."""

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
from tests.faults.processes import descendants, is_alive, kill_tree
from tests.faults.witness import Step, Witness
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
INJECTED = Path(__file__).parent / "injected"
RUN_SECONDS = 300.0


@dataclass(frozen=True)
class Struck:
    """What a fault was done to.

    Args:
        since: When, by the monotonic clock.
        steps: Steps that had been trained.
        before: Processes that had trained.
        worker_of: The struck worker that trained a path.
    """

    since: float
    steps: int
    before: set[int]
    worker_of: dict[str, int]

    def is_recovery(self, step: Step) -> bool:
        """Whether a step shows that training goes on."""
        return step.pid not in self.before or step.pid != self.worker_of.get(step.path, step.pid)


@dataclass
class Arena:
    """A search under test.

    Args:
        folder: An empty folder.
        document: The search file, as a dictionary; change it before the first start.
        seed: Seed of what the test leaves to chance.
    """

    folder: Path
    document: dict[str, Any]
    seed: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    recovery_seconds: float = 0.0
    _struck: Struck = field(default_factory=lambda: Struck(0.0, 0, set(), {}), init=False)

    @cached_property
    def temporary(self) -> Path:
        """For temporary files and machine-wide locks; short, as Ray's sockets must be."""
        return Path(tempfile.mkdtemp(prefix="tlc-"))

    @cached_property
    def rng(self) -> random.Random:
        """Chance, the same for the same seed."""
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
    def witness(self) -> Witness:
        """What really happened."""
        return Witness(self.folder / "witness.log")

    @property
    def output(self) -> str:
        """What all started commands have printed."""
        path = self.folder / "out.txt"
        return path.read_text() if path.exists() else ""

    def environment(self, faults: dict[str, Any] | None = None, **extra: str) -> dict[str, str]:
        """Of the processes under test."""
        kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        return {
            **kept,
            "TLC_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "TLC_STEP_LOG": str(self.witness.path),
            "TLC_WITNESS": str(self.witness.path),
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
        """Start ``tlc`` with some words, or the search; its output goes to ``out.txt``.

        Args:
            words: The command; without any, ``run`` with the search file.
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
        """Run a command to its end, without witness or faults."""
        return subprocess.run(
            [sys.executable, "-m", "search.cli", *words],
            env={**self.environment(**extra), "TLC_WITNESS": ""},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def answer(self, *words: str) -> Any:
        """What a command answers as JSON; nothing found is an empty answer."""
        done = self.tlc(*words, "--json")
        assert done.returncode in (0, 3), f"tlc {' '.join(words)}: {done.stderr[-2000:]}"
        return json.loads(done.stdout) if done.stdout.strip() else []

    def mlflow_runs(self) -> list[Any]:
        """The runs of the search's trials that MLflow shows."""
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
        """Trials whose end the study has committed."""
        return sum(line[0] == "told" for line in self.witness.lines())

    def wait_finished(self, count: int) -> None:
        """Wait until so many trials have ended."""
        wait_for(f"{count} trials\n{self.output[-2000:]}", lambda: self.finished() >= count)

    def wait_steps(self, more: int = 1) -> int:
        """Wait for so many more optimiser steps; returns the process that did the last of them."""
        before = len(self.witness.steps())
        wait_for(
            f"{more} more steps\n{self.output[-2000:]}",
            lambda: len(self.witness.steps()) >= before + more,
        )
        return self.witness.steps()[-1].pid

    def struck(self, *workers: int) -> None:
        """Note that a fault is done now, to some workers or to all that have trained until now."""
        steps = self.witness.steps()
        self._struck = Struck(
            time.monotonic(),
            len(steps),
            {step.pid for step in steps},
            {step.path: step.pid for step in steps if step.pid in workers},
        )

    def wait_recovered(self) -> None:
        """Note how long it took from the fault until a new process trained a step, or another took
        a struck worker's training over."""
        struck = self._struck
        wait_for(
            f"a recovery\n{self.output[-2000:]}",
            lambda: any(map(struck.is_recovery, self.witness.steps()[struck.steps :])),
        )
        self.recovered(time.monotonic() - struck.since)

    def recovered(self, seconds: float) -> None:
        """Note a recovery; the longest counts."""
        self.recovery_seconds = max(self.recovery_seconds, seconds)

    def close(self) -> None:
        """Kill what is left."""
        left = [child.pid for process in self.started for child in descendants(process.pid)]
        for process in self.started:
            kill_tree(process.pid)
            process.wait()
        for pid in left:
            if is_alive(pid):
                kill_tree(pid)
        shutil.rmtree(self.temporary, ignore_errors=True)
