"""What the faults of tlc's scorecard do to plain Ray Tune, Optuna and MLflow.

Each fault is done to a real search that is written as the documentation of the three shows it
(``plain/driver.py``), and what is lost, doubled, repeated and falsely on the front is counted by
the same rules as for tlc (``plain/checker.py``). A fault that has no meaning there says why.

    python benchmarks/plain_stack.py --seeds 1 [--only 1,8,17] --json docs/reliability/plain.json
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from plain import (  # noqa: E402
    faults_of_processes,
    faults_of_searches,
    faults_of_storage,
    faults_of_tracking,
    faults_of_values,
)
from plain.arena import Arena  # noqa: E402
from plain.checker import Score  # noqa: E402

LIMIT_SECONDS = 480


@dataclass(frozen=True)
class Fault:
    """A fault of the scorecard, and what does it to the plain search; else why nothing can."""

    number: int
    name: str
    inflict: Callable[[Arena], Score] | None
    reason: str = ""


FAULTS = [
    Fault(1, "driver killed", faults_of_processes.kill_driver),
    Fault(2, "worker killed", faults_of_processes.kill_worker),
    Fault(3, "killed while saving", faults_of_processes.kill_while_saving),
    Fault(4, "node lost", faults_of_processes.lose_node),
    Fault(5, "head lost", faults_of_processes.lose_head),
    Fault(6, "worker frozen", faults_of_processes.freeze_worker),
    Fault(7, "endless step", faults_of_processes.hang_in_step),
    Fault(8, "broken loss", faults_of_values.broken_loss),
    Fault(9, "out of memory", faults_of_processes.out_of_memory),
    Fault(10, "broken compressor", faults_of_values.broken_compressor),
    Fault(11, "noisy host", None, "none of the three measures latency"),
    Fault(12, "disk full", faults_of_storage.full_disk),
    Fault(13, "MLflow away", faults_of_tracking.tracking_away),
    Fault(14, "lost replies", faults_of_tracking.lost_replies),
    Fault(15, "clock an hour off", faults_of_searches.clock_off),
    Fault(16, "same search twice", faults_of_searches.same_search_twice),
    Fault(16, "name of another", faults_of_searches.name_of_another),
    Fault(17, "damaged checkpoints", faults_of_storage.damaged_checkpoints),
    Fault(18, "torn state of Tune", faults_of_storage.torn_state),
    Fault(18, "torn journal of Optuna", faults_of_storage.torn_journal),
    Fault(19, "data changed", faults_of_values.changed_data),
    Fault(20, "job of a stranger", faults_of_searches.stranger),
]


class OutOfTimeError(Exception):
    """A fault's measurement took too long."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise ``OutOfTimeError`` in the main thread after so many seconds."""

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def measure(fault: Fault, seed: int) -> dict[str, Any]:
    """Do a fault to a search, and return its row."""
    row: dict[str, Any] = {"fault": fault.number, "name": fault.name, "seed": seed}
    if fault.inflict is None:
        return {**row, "measured": False, "words": f"not applicable: {fault.reason}"}
    arena = Arena(seed)
    started = time.monotonic()
    try:
        with time_limit(LIMIT_SECONDS):
            score = fault.inflict(arena)
        row |= {"measured": True, **asdict(score)}
    except Exception as error:
        # One fault that could not be measured leaves the others; its row says so.
        row |= {"measured": False, "words": f"not measured: {type(error).__name__}: {error}"}
        row["output"] = arena.output[-3000:]
    finally:
        arena.close()
    return {**row, "seconds": round(time.monotonic() - started)}


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The rows for the terminal."""
    table = Table(title="Plain Ray Tune + Optuna + MLflow")
    figures = ("lost", "doubled", "excess", "false", "recovery_seconds", "exit_code")
    for heading in ("fault", "", "seed", *(name.replace("_", " ") for name in figures), "seen"):
        table.add_column(heading)
    for row in rows:
        cells = [str(row["fault"]), row["name"], str(row["seed"])]
        cells += ["" if row.get(name) is None else str(row[name]) for name in figures]
        table.add_row(*cells, row["words"].splitlines()[0])
    return table


@click.command()
@click.option("--seeds", default=1, show_default=True)
@click.option("--only", default="", help="Numbers of faults, with commas.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the rows here.")
def main(seeds: int, only: str, out: Path | None) -> None:
    wanted = {int(number) for number in only.split(",") if number}
    rows = _others(out, wanted) if out and wanted else []
    console = Console(width=200)
    for fault in FAULTS:
        if wanted and fault.number not in wanted:
            continue
        for seed in range(seeds):
            row = measure(fault, seed)
            rows.append(row)
            console.print(f"{fault.number:2} {fault.name}, seed {seed}: {row['words']}")
            if out:
                rows.sort(key=lambda row: row["fault"])
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps({"versions": versions(), "rows": rows}, indent=1) + "\n")
    console.print(table_of(rows))


def _others(out: Path, wanted: set[int]) -> list[dict[str, Any]]:
    """Rows that were measured before, of the faults that are not measured now."""
    if not out.exists():
        return []
    return [row for row in json.loads(out.read_text())["rows"] if row["fault"] not in wanted]


def versions() -> dict[str, str]:
    """What the rows were measured with."""
    names = ("ray", "optuna", "mlflow", "torch")
    return {name: version(name) for name in names} | {"cores": str(os.cpu_count())}


if __name__ == "__main__":
    main()
