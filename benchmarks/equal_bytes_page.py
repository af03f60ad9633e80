"""Write the comparisons of ``equal_bytes.py`` and ``inheritance.py`` into docs/compression.md.

    python benchmarks/equal_bytes_page.py

Differences are paired: both models of a seed start from one trained model. They are given with
their standard errors over seeds.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean, stdev

import click
from equal_bytes import TABLE
from inheritance import TABLE as INHERITANCE
from reliability_page import replaced

from spaces.file.training import LAST_STAGE

PAGE = Path(__file__).parents[1] / "docs" / "compression.md"

Row = dict[str, str]
Way = tuple[str, str, str]
"""Whether there is a teacher, where recovery starts, and its steps."""


def mixed_table(rows: list[Row]) -> str:
    """Equal and mixed bits at equal bytes: a line for each task."""
    lines = [
        "| added loss, nats | seeds | `gptq-2` | `mixed-2.5` | `gptq-3` | `mixed-3` less `gptq-3` "
        "| `gptq-4` | `mixed-4` less `gptq-4` | `gptq-3`, s | `mixed-3`, s |",
        "| --- |" + " --- |" * 9,
    ]
    for task in _tasks(rows):
        of_task = [row for row in rows if row["task"] == task]
        added = {name: _added(of_task, name, NONE) for name in ("gptq-2", "mixed-2.5")}
        cells = [
            task,
            str(len(added["gptq-2"])),
            *(f"{fmean(each):.4f}" for each in added.values()),
        ]
        for bits in (3, 4):
            equal, mixed = (_added(of_task, f"{m}-{bits}", NONE) for m in ("gptq", "mixed"))
            cells += [f"{fmean(equal):.4f}", difference(mixed, equal)]
        cells += [f"{_seconds(of_task, f'{m}-3', NONE):.1f}" for m in ("gptq", "mixed")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def recovery_table(rows: list[Row]) -> str:
    """What recovery learns from and where it starts: a line for each task and compression."""
    lines = [
        "| task, compression | added loss without | recovery | a teacher | in place of the last "
        "stage | in its place, a teacher | longer recovery | in its place, as long |",
        "| --- |" + " --- |" * 7,
    ]
    for task in _tasks(rows):
        of_task = [row for row in rows if row["task"] == task]
        short, long = sorted({int(row["recovery_steps"]) for row in of_task} - {0})
        for compression in ("rtn-2", "none structured 50%"):
            usual = _added(of_task, compression, ("0", "end", str(short)))
            seconds = _seconds(of_task, compression, ("0", "end", str(short)))
            name = compression.removeprefix("none ")
            cells = [
                f"{task}, {name}",
                f"{fmean(_added(of_task, compression, NONE)):+.3f}",
                f"{fmean(usual):+.3f} ({short} steps, {seconds:.1f} s)",
            ]
            for teacher, start, steps in (
                ("1", "end", short), ("0", LAST_STAGE, short), ("1", LAST_STAGE, short),
                ("0", "end", long), ("0", LAST_STAGE, long),
            ):  # fmt: skip
                way = (teacher, start, str(steps))
                found = _added(of_task, compression, way)
                text = difference(found, usual, digits=3) if found else ""
                if found:
                    text += f" ({_seconds(of_task, compression, way):.1f} s)"
                cells.append(text)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def inheritance_table(rows: list[Row]) -> str:
    """Inherited models and models from scratch: a line for each shape and number of steps."""
    lines = [
        "| task, shape | steps | from scratch | inherited less scratch | taught, less scratch "
        "| inherited less scratch, larger model charged | s: scratch, inherited, charged |",
        "| --- |" + " --- |" * 6,
    ]
    for task in _tasks(rows):
        for smaller in dict.fromkeys(row["smaller"] for row in rows):
            for steps in dict.fromkeys(row["steps"] for row in rows):
                found: dict[str, list[Row]] = {}
                for row in rows:
                    if (row["task"], row["smaller"], row["steps"]) == (task, smaller, steps):
                        found.setdefault(row["way"], []).append(row)
                losses = {way: [float(r["loss"]) for r in each] for way, each in found.items()}
                seconds = {
                    way: fmean(float(r["seconds"]) for r in each) for way, each in found.items()
                }
                scratch, inherited = losses["scratch"], losses["inherited"]
                charged = losses["scratch, larger model charged"]
                cells = [
                    f"{task}, {smaller.removeprefix('none ')}",
                    steps,
                    f"{fmean(scratch):.3f}",
                    difference(inherited, scratch, digits=3),
                    difference(losses["inherited, taught"], scratch, digits=3),
                    difference(inherited, charged, digits=3),
                    f"{seconds['scratch']:.0f}, {seconds['inherited']:.0f}, "
                    f"{seconds['scratch, larger model charged']:.0f}",
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(found: Iterable[float], other: Iterable[float], *, digits: int = 4) -> str:
    """Mean of the differences of pairs, with its standard error where there are several."""
    differences = [one - two for one, two in zip(found, other, strict=True)]
    mean = f"{fmean(differences):+.{digits}f}"
    if len(differences) < 2:
        return mean
    return f"{mean} ± {stdev(differences) / math.sqrt(len(differences)):.{digits}f}"


NONE: Way = ("0", "", "0")


def _tasks(rows: list[Row]) -> Iterator[str]:
    return iter(dict.fromkeys(row["task"] for row in rows))


def _of(rows: list[Row], compression: str, way: Way) -> list[Row]:
    """The rows of a way to compress, by seed."""
    found = [
        row
        for row in rows
        if row["compression"] == compression
        and (row["teacher"], row["start"], row["recovery_steps"]) == way
    ]
    return sorted(found, key=lambda row: int(row["seed"]))


def _added(rows: list[Row], compression: str, way: Way) -> list[float]:
    found = _of(rows, compression, way)
    return [float(row["loss"]) - float(row["dense_loss"]) for row in found]


def _seconds(rows: list[Row], compression: str, way: Way) -> float:
    return fmean(float(row["seconds"]) for row in _of(rows, compression, way))


def main() -> None:
    """Put the tables between their markers."""
    rows, inherited = (list(csv.DictReader(path.open())) for path in (TABLE, INHERITANCE))
    text = PAGE.read_text()
    for marker, table in (
        ("mixed bits", mixed_table(rows)),
        ("recoveries", recovery_table(rows)),
        ("inheritance", inheritance_table(inherited)),
    ):
        text = replaced(text, marker, table)
    PAGE.write_text(text)
    click.echo(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
