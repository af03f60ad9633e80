"""The arena of the plain search: its processes, in a folder of their own, and its witness."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from plain.driver import Settings
from tests.faults.processes import kill
from tests.faults.witness import Witness
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 240.0


@dataclass
class Arena:
    """A plain search under test; whatever it started is killed at its end.

    Args:
        seed: Seed of the search and of what a fault leaves to chance.
        settings: Settings of the search that are not the usual ones.
    """

    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    recovery_seconds: float = 0.0
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    @cached_property
    def folder(self) -> Path:
        """Short, as the paths of Ray's sockets must be."""
        folder = Path(tempfile.mkdtemp(prefix="pl-", dir="/tmp"))
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        write_data(folder / "data.pt", self.seed)
        return folder

    @cached_property
    def rng(self) -> random.Random:
        """Chance, the same for the same seed."""
        return random.Random(self.seed)

    @cached_property
    def search(self) -> Settings:
        """The settings of the search."""
        folder = self.folder
        usual: dict[str, Any] = {
            "name": "plain",
            "folder": str(folder),
            "storage": str(folder / "results"),
            "data": str(folder / "data.pt"),
            "ray_folder": str(folder / "ray"),
            "study": f"sqlite:///{folder / 'optuna.db'}",
            "tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
            "seed": self.seed,
        }
        return Settings(**{**usual, **self.settings})

    @cached_property
    def witness(self) -> Witness:
        """What really happened."""
        return Witness(self.folder / "witness.log")

    @property
    def output(self) -> str:
        """What the drivers have printed."""
        path = self.folder / "out.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def experiment(self) -> Path:
        """Tune's folder of the search."""
        return Path(self.search.storage) / self.search.name

    def environment(self, faults: dict[str, Any] | None = None, **extra: str) -> dict[str, str]:
        """Of the processes under test."""
        kept = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
        return {
            **kept,
            "PLAIN_MARK": self.mark,
            "PLAIN_WITNESS": str(self.witness.path),
            "PLAIN_FAULTS": json.dumps(faults or {}),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)]),
            "TMPDIR": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            **extra,
        }

    def start(
        self,
        *words: str,
        faults: dict[str, Any] | None = None,
        settings: Settings | None = None,
        **extra: str,
    ) -> subprocess.Popen[bytes]:
        """Start the driver, or start it again; its output goes to ``out.txt``."""
        settings = settings or self.search
        path = Path(settings.folder) / f"{settings.name}.json"
        path.parent.mkdir(exist_ok=True)
        settings.write(path)
        (path.parent / "results.json").unlink(missing_ok=True)
        return self.spawn(
            [sys.executable, "-m", "plain.driver", str(path), *words],
            self.environment(faults, **extra),
        )

    def spawn(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own."""
        with (self.folder / "out.txt").open("ab") as output:
            return subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def finish(self, driver: subprocess.Popen[bytes], seconds: float = RUN_SECONDS) -> int | None:
        """The exit code of a driver; None where it did not end in time."""
        try:
            return driver.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def wait_steps(self, more: int = 1, seconds: float = 90.0) -> int:
        """Wait for so many more optimiser steps; returns the process that did the last of them."""
        before = len(self.witness.steps())
        wait_for(
            f"{more} more steps\n{self.output[-2000:]}",
            lambda: len(self.witness.steps()) >= before + more,
            seconds,
        )
        return self.witness.steps()[-1].pid

    def wait_line(self, word: str, count: int = 1, seconds: float = 90.0) -> list[list[str]]:
        """Wait for so many lines of the witness that begin with a word; returns them."""

        def found() -> list[list[str]]:
            return [line for line in self.witness.lines() if line[0] == word]

        wait_for(f"{count} x {word}\n{self.output[-2000:]}", lambda: len(found()) >= count, seconds)
        return found()

    def wait_recovered(self, seconds: float = 120.0) -> None:
        """Note how long it takes from now until steps are trained again."""
        started = time.monotonic()
        self.wait_steps(seconds=seconds)
        self.recovery_seconds = max(self.recovery_seconds, time.monotonic() - started)

    def kill_driver(self, driver: subprocess.Popen[bytes]) -> None:
        """SIGKILL to the driver alone; what it had started must go with it, or is killed too."""
        kill(driver.pid)
        driver.wait()
        with contextlib.suppress(AssertionError):
            wait_for("its processes are gone", lambda: not self._processes(), 15.0)
        kill(*self._processes())

    def wait_resumed(self, path: str, pid: int, seconds: float = 120.0) -> float:
        """Seconds from now until another process trains a path again."""
        before = len(self.witness.steps())
        return wait_for(
            f"{path} goes on\n{self.output[-2000:]}",
            lambda: any(s.path == path and s.pid != pid for s in self.witness.steps()[before:]),
            seconds,
        )

    def interrupt(self, driver: subprocess.Popen[bytes]) -> int | None:
        """Ctrl-C, after which Tune saves its state."""
        driver.send_signal(signal.SIGINT)
        return self.finish(driver, 60.0)

    def _processes(self) -> list[int]:
        return [process.pid for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return bool(
                process.environ().get("PLAIN_MARK") == self.mark
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False

    def kill_all(self) -> None:
        """Kill what is left of all that was started."""
        for _ in range(20):
            left = self._processes()
            if not left:
                break
            kill(*left)
            time.sleep(0.2)

    def close(self) -> None:
        """Kill what is left, and remove the folder."""
        self.kill_all()
        shutil.rmtree(self.folder, ignore_errors=True)


def write_data(path: Path, seed: int) -> None:
    """Rows of tokens in which each depends on the two before it."""
    import torch

    from plain.training import CONTEXT, VOCABULARY

    generator = torch.Generator().manual_seed(seed)
    table = torch.randint(VOCABULARY, (VOCABULARY, VOCABULARY), generator=generator)
    rows = torch.randint(VOCABULARY, (20_000, CONTEXT + 1), generator=generator)
    for at in range(2, CONTEXT + 1):
        noise = torch.rand(len(rows), generator=generator) < 0.2
        follows = table[rows[:, at - 1], rows[:, at - 2] // 16]
        rows[:, at] = torch.where(noise, rows[:, at], follows)
    torch.save(rows, path)
