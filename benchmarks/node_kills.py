"""One trial on a cluster whose nodes are lost again and again, at random times.

The script starts a head without processors and two nodes on this machine, runs a search of one
trial, and kills the node that trains; another takes its place. It prints for each kill the step
that the trial had reached, the last one that was stored, and the one at which it went on.

    python benchmarks/node_kills.py [--kills 30] [--steps 6000] [--checkpoint-seconds 0.5]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from search.storage.study import Study
from tests.faults.event_log import EventLog
from tests.faults.nodes import Nodes
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for

LONGEST = 3.0
"""Longest training between two kills, in intervals of checkpoints."""


def document(folder: Path, steps: int, seconds: float, seed: int) -> dict[str, Any]:
    """A search of one trial, of a small language model of the documentation."""
    text = folder / "text.txt"
    text.write_text("\n".join(p.read_text() for p in sorted(Path("docs").glob("*.md"))))
    return {
        "name": "kills",
        "task": {"name": "causal-lm"},
        "data": {
            "unlabelled": {"source": "files", "train": str(text)},
            "vocabulary_size": 400,
            "sequence_length": 16,
        },
        "space": {
            "depth": 1,
            "width": 32,
            "budget": {"unit": "steps", "choices": [steps]},
            "quantisation": {"choices": ["none"]},
        },
        "training": {"batch_size": 16, "checkpoint_seconds": seconds},
        "measurement": {"repeats": 10},
        "sampler": "random",
        "trials": 1,
        "concurrency": 1,
        "seed": seed,
    }


def stored(events: EventLog, path: str) -> list[int]:
    """Steps of a training path that were stored, in their order."""
    prefix = f"checkpoints/{path}/"
    found = [line[1] for line in events.lines() if line[0] == "saved"]
    return [int(each.removeprefix(prefix)) for each in found if each.startswith(prefix)]


def kill_once(nodes: Nodes, system: SystemUnderTest, driver: Any, wait: float) -> str:
    """Kill the node that trains, some seconds after its worker went on; returns what happened.

    Returns:
        A line; empty where the trial ended before.
    """
    events, before = system.events, len(system.events.steps())
    wait_for(
        "a step", lambda: len(events.steps()) > before or driver.poll() is not None, seconds=120
    )
    time.sleep(wait)
    if driver.poll() is not None:
        return ""
    last = events.steps()[-1]
    of_worker = (
        node
        for node in nodes.started[1:]
        if node.poll() is None
        and last.pid in {c.pid for c in psutil.Process(node.pid).children(recursive=True)}
    )
    node = next(of_worker, None)
    if node is None:
        return ""
    nodes.lose(node)
    time.sleep(0.2)
    steps = events.steps()
    reached, count = steps[-1], len(steps)
    kept = max(stored(events, reached.path), default=0)
    nodes.worker()
    wait_for(
        "it goes on", lambda: len(events.steps()) > count or driver.poll() is not None, seconds=120
    )
    after = events.steps()[count:]
    went_on = after[0].number if after else 0
    is_lost = bool(after) and after[0].path == reached.path and went_on <= kept
    return (
        f"reached step {reached.number:6,}, stored {kept:6,}, went on with step {went_on:6,}"
        f"{'  LOST' if is_lost else ''}"
    )


@click.command()
@click.option("--kills", default=30, help="Nodes to kill.")
@click.option("--steps", default=6000, help="Steps of the trial.")
@click.option("--checkpoint-seconds", default=0.5, help="Seconds between two checkpoints.")
@click.option("--seed", default=0)
def main(kills: int, steps: int, checkpoint_seconds: float, seed: int) -> None:
    """Kill nodes during a trial, and print what it lost."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        searched = document(Path(name), steps, checkpoint_seconds, seed)
        system = SystemUnderTest(Path(name), searched, seed)
        system.home.mkdir()
        nodes, killed, started = Nodes(system), 0, time.monotonic()
        try:
            nodes.head(cpus=0)
            for _ in range(2):
                nodes.worker()
            driver = system.start(
                "run", system.write(), "--address", nodes.address, **nodes.variables
            )
            while killed < kills and driver.poll() is None:
                line = kill_once(
                    nodes, system, driver, rng.uniform(0, LONGEST * checkpoint_seconds)
                )
                if line:
                    killed += 1
                    click.echo(f"kill {killed:2}: {line}")
            system.finish(driver)
        finally:
            nodes.close()
            system.close()
        (record,) = Study.load("kills", system.study_url).records()
        saved = sum(line[0] == "saved" for line in system.events.lines())
        repeated = len(system.events.steps()) - len(
            {(s.path, s.number) for s in system.events.steps()}
        )
        click.echo(
            f"{killed} kills, {saved} checkpoints stored, {record.state}; {repeated:,} steps were "
            f"repeated, {len(system.events.excess_steps())} of them although they were stored; "
            f"{time.monotonic() - started:.0f} s"
        )


if __name__ == "__main__":
    main()
