"""Run the fault tests with several seeds and count the guarantees that each fault broke.

    python benchmarks/faults.py --seeds 3 --json docs/reliability/tlc.json

Each fault is a test in ``tests/faults/``, whose checker examines a real search.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
FIGURES = ("lost", "doubled", "excess", "false")
ALONE = {11, 13, 20}
"""Faults whose tests measure time: they run one after another."""


@dataclass
class Row:
    """The outcome of a fault with one seed.

    Args:
        fault: Its number.
        name: Its name, from the file names of its tests.
        seed: Seed of the random choices.
        passed: Whether all of its tests passed.
        lost: Completed records that were missing or changed.
        doubled: Records that were found twice.
        excess: Steps that were repeated although a checkpoint contained them.
        false: Trials on the frontier that do not belong there.
        recovery: Longest time from the fault until training continued, in seconds; 0 if no
            process died.
        seconds: Seconds of its tests.
    """

    fault: int
    name: str
    seed: int
    passed: bool = True
    lost: int = 0
    doubled: int = 0
    excess: int = 0
    false: int = 0
    recovery: float = 0.0
    seconds: float = 0.0


def run(seed: int, processes: int, only: str) -> list[Row]:
    """Run the tests of all faults with a seed."""
    together, alone = tests(seed, only)
    found = run_files(together, seed, processes) + run_files(alone, seed, 1)
    return sorted(found, key=lambda row: row.fault)


def run_files(files: list[str], seed: int, processes: int) -> list[Row]:
    """Run test files with a number of processes."""
    if not files:
        return []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [
                sys.executable, "-m", "pytest", *files, f"--fault-seed={seed}",
                f"--numprocesses={processes}", "--dist=loadfile", "--no-loadscope-reorder",
                f"--junit-xml={report}", "--timeout=900",
            ],
            cwd=ROOT,
            check=False,
        )  # fmt: skip
        return rows(report, seed)


def tests(seed: int, only: str) -> tuple[list[str], list[str]]:
    """Test files that may run together and those that run alone; of the named faults, if any.

    The tests of the checker are deterministic and run with the first seed only.
    """
    wanted = {int(number) for number in only.split(",") if number}
    files = sorted((ROOT / "tests" / "faults").glob("test_*.py"))
    numbered = [(number_of(file.stem), str(file)) for file in files]
    chosen = [
        (number, file)
        for number, file in numbered
        if (number in wanted if wanted else number > 0 or seed == 0)
    ]
    return (
        [file for number, file in chosen if number not in ALONE],
        [file for number, file in chosen if number in ALONE],
    )


def number_of(name: str) -> int:
    """Number of the fault in the name of a test file."""
    found = re.search(r"test_(\d+)_", name)
    if found is None:
        raise click.ClickException(f"{name} does not say which fault it tests")
    return int(found[1])


def rows(report: Path, seed: int) -> list[Row]:
    """One row for each fault in a JUnit report."""
    found: dict[int, Row] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module = case.attrib["classname"].rpartition(".")[2]
        number = number_of(module)
        name = module.split("_", 2)[2].replace("_", " ")
        row = found.setdefault(number, Row(number, name, seed))
        row.name = ", ".join(sorted({*row.name.split(", "), name}))
        row.passed &= all(case.find(kind) is None for kind in ("failure", "error", "skipped"))
        row.seconds += float(case.attrib["time"])
        for entry in case.iter("property"):
            if entry.attrib["name"] == "score":
                score = json.loads(entry.attrib["value"])
                for figure in FIGURES:
                    setattr(row, figure, getattr(row, figure) + score[figure])
                row.recovery = max(row.recovery, score["recovery"])
    return [row for _, row in sorted(found.items()) if row.fault > 0]


def print_table(found: list[Row]) -> None:
    """Print one line for each fault, over its seeds."""
    by_fault: dict[int, list[Row]] = defaultdict(list)
    for row in found:
        by_fault[row.fault].append(row)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("", "fault", "passed", *FIGURES, "recovery", "seconds"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for number, of_fault in sorted(by_fault.items()):
        passed = sum(row.passed for row in of_fault)
        recovery = max(row.recovery for row in of_fault)
        table.add_row(
            str(number),
            of_fault[0].name,
            f"{passed} of {len(of_fault)}",
            *(str(sum(getattr(row, figure) for row in of_fault)) for figure in FIGURES),
            f"{recovery:.1f} s" if recovery else "",
            f"{sum(row.seconds for row in of_fault) / len(of_fault):.0f}",
        )
    Console().print(table)


def write(path: Path, found: list[Row], *, keep: bool) -> None:
    """Write rows as JSON; ``keep`` retains rows of other faults in the file."""
    rows = [asdict(row) for row in found]
    if keep and path.exists():
        new = {(row["fault"], row["seed"]) for row in rows}
        old = json.loads(path.read_text())
        rows += [row for row in old if (row["fault"], row["seed"]) not in new]
    rows.sort(key=lambda row: (row["seed"], row["fault"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")


@click.command()
@click.option("--seeds", default=3, show_default=True, help="Seeds, from 0.")
@click.option(
    "--only", default="", help="Numbers of faults, such as 1,8,17; replaces only their rows."
)
@click.option("--processes", default=1, show_default=True, help="Test processes.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Where to write the rows.")
def main(seeds: int, only: str, processes: int, path: Path | None) -> None:
    """Inject every fault and print what it broke; exit code 1 if a test failed."""
    started = time.monotonic()
    found: list[Row] = []
    for seed in range(seeds):
        found += run(seed, processes, only)
        if path is not None:
            write(path, found, keep=bool(only))
    print_table(found)
    failed = sum(not row.passed for row in found)
    click.echo(
        f"{len(found) - failed} of {len(found)} passed in {time.monotonic() - started:.0f} s"
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
