"""A soak test: random faults against one search for some minutes, checked at the end.

python benchmarks/soak.py --minutes 20
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.checker import check
from tests.faults.processes import kill
from tests.faults.system import SystemUnderTest
from tests.faults.tracking import tracking_server
from tests.waiting import wait_for

DEADLINE = 20.0
PAUSE = (4.0, 15.0)
"""Shortest and longest time between two faults, in seconds."""


def document(folder: Path) -> dict[str, Any]:
    """A search with more trials than any soak test reaches."""
    rng = random.Random(0)
    words = ["a", "old", "cat", "dog", "sees", "takes", "saw", "axe", "near", "with"]
    text = "\n".join(" ".join(rng.choices(words, k=rng.randint(4, 12))) for _ in range(3000))
    (folder / "text.txt").write_text(text + "\n")
    return {
        "name": "soak",
        "task": {"name": "causal-lm"},
        "data": {
            "unlabelled": {"source": "files", "train": str(folder / "text.txt")},
            "vocabulary_size": 300,
            "sequence_length": 16,
        },
        "space": {
            "depth": {"low": 1, "high": 6},
            "width": {"low": 32, "high": 256, "step": 32},
            "budget": {"unit": "steps", "choices": [100, 200, 400, 800, 1600, 3200]},
            "quantisation": {"choices": ["none", "rtn-8", "rtn-6", "rtn-4", "rtn-3"]},
            "sparsity": {"choices": [0.0, 0.25, 0.5]},
        },
        "training": {"batch_size": 16, "checkpoint_seconds": 0.5},
        "measurement": {"repeats": 10},
        "resources": {"progress_deadline_seconds": DEADLINE},
        "sampler": "random",
        "trials": 10_000,
    }


class Soak:
    """Injects faults into a search.

    Args:
        system: The search.
        proxy: Before MLflow's server.
    """

    def __init__(self, system: SystemUnderTest, proxy: Any) -> None:
        self._system = system
        self._proxy = proxy
        self.driver = system.start(faults=self._injected())
        self.done: Counter[str] = Counter()

    def _injected(self) -> dict[str, Any]:
        """Faults inside the trials: a few broken losses, compressors and steps."""
        return {
            "loss": {"step": 30, "values": ["nan", "inf", "1e6"]},
            "compressor": {"behaviours": ["raises", "nan", "constant"]},
            "hang_in_step": {"step": 77, "times": 2},
        }

    def one(self) -> None:
        """Inject a random fault, and wait until the search has recovered."""
        fault = self._system.rng.choice(
            [self.kill_driver, self.kill_worker, self.freeze_worker, self.mlflow_away,
             self.lose_replies, self.damage_checkpoint]
        )  # fmt: skip
        self.done[fault.__name__] += 1
        click.echo(f"{time.strftime('%H:%M:%S')}  {fault.__name__}; {self._system.finished()} told")
        fault()
        if self.driver.poll() is not None:
            self.driver = self._system.start(faults=self._injected())
        self._system.wait_steps(20)

    def _worker(self) -> int:
        return self._system.wait_steps(self._system.rng.randint(1, 50))

    def kill_driver(self) -> None:
        kill(self.driver.pid)
        self.driver.wait()

    def kill_worker(self) -> None:
        kill(self._worker())

    def freeze_worker(self) -> None:
        frozen = self._worker()
        os.kill(frozen, signal.SIGSTOP)
        time.sleep(self._system.rng.uniform(1.0, 1.5 * DEADLINE))
        try:
            os.kill(frozen, signal.SIGCONT)
        except ProcessLookupError:
            return

    def mlflow_away(self) -> None:
        self._proxy.leave()
        time.sleep(self._system.rng.uniform(1.0, 10.0))
        self._proxy.come_back()

    def lose_replies(self) -> None:
        self._proxy.lose_replies("/runs/create", 1)
        self._proxy.lose_replies("/runs/log-batch", 1)

    def damage_checkpoint(self) -> None:
        """Flip a byte in the last checkpoint of a path in training, and kill its worker."""
        worker = self._worker()
        os.kill(worker, signal.SIGSTOP)
        mine = [step for step in self._system.events.steps() if step.pid == worker]
        folder = self._system.store / "checkpoints" / mine[-1].path
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        # Checkpoints of finished trials stay intact: they are recorded results.
        used = {
            str(record["result"]["checkpoint"])
            for record in self._system.events.committed()
            if "result" in record
        }
        entries = [e for e in entries if f"checkpoints/{mine[-1].path}/{e.name}" not in used]
        if entries:
            weights = entries[-1] / "model.safetensors"
            if weights.exists():
                data = bytearray(weights.read_bytes())
                data[-1] ^= 1
                weights.write_bytes(data)
                before = int(entries[-2].name) if len(entries) > 1 else 0
                self._system.events.damaged(mine[-1].path, before)
        kill(worker)

    def end(self) -> None:
        """Stop the search with SIGINT."""
        self.driver.send_signal(signal.SIGINT)
        self.driver.wait(timeout=120)


@click.command()
@click.option("--minutes", default=20.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), help="Where to write the figures.")
def main(minutes: float, seed: int, path: Path | None) -> None:
    """Run the soak test; exit code 1 if a guarantee was broken."""
    folder = Path(tempfile.mkdtemp(prefix="tlc-soak-"))
    system = SystemUnderTest(folder, document(folder), seed)
    system.home.mkdir()
    try:
        with tracking_server(system) as proxy:
            soak = Soak(system, proxy)
            wait_for("the first trial", lambda: system.finished() > 0, 120)
            deadline = time.monotonic() + 60 * minutes
            while time.monotonic() < deadline:
                time.sleep(system.rng.uniform(*PAUSE))
                soak.one()
            proxy.come_back()
            soak.end()
            score = check(system)
    except BaseException:
        click.echo(system.output[-3000:])
        click.echo(f"kept: {folder}")
        raise
    finally:
        system.close()
    committed = system.events.committed()
    states = Counter(r.get("failure", {}).get("state", "complete") for r in committed)
    figures = {
        "minutes": minutes,
        "faults": dict(soak.done),
        "states": dict(states),
        "steps": len(system.events.steps()),
        "lost": score.lost,
        "doubled": score.doubled,
        "excess": score.excess,
        "false": score.false,
    }
    click.echo(json.dumps(figures, indent=1))
    click.echo("\n".join(score.problems[:20]))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")
    if score.is_clean:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        click.echo(f"kept: {folder}")
    sys.exit(0 if score.is_clean else 1)


if __name__ == "__main__":
    main()
