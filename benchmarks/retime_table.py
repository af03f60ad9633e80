"""Replace the seconds of a recorded table by those of a short recording on an idle machine.

The seconds of a long recording beside other programs say as much about these as about the models.
Record the same search again with one short budget while nothing else runs:

    python benchmarks/record_table.py SEARCH times.csv --set "space.budget.choices=[40]"
    python benchmarks/retime_table.py table.csv times.csv
"""

from __future__ import annotations

import csv
from pathlib import Path

import click

from search.replay.table import COMPRESSION, SHAPES

ARCHITECTURE = ("depth", "width", *SHAPES)
TRAINING = ("train_seconds_stable", "train_seconds_cooldown")
EVALUATION = "compress_eval_seconds"

Row = dict[str, str]


@click.command()
@click.argument("table", type=click.Path(path_type=Path, exists=True))
@click.argument("times", type=click.Path(path_type=Path, exists=True))
def main(table: Path, times: Path) -> None:
    """Write the seconds of TIMES into TABLE: those of a step by architecture, and those of
    compression and evaluation by architecture and compression."""
    rows, timed = _rows(table), _rows(times)
    by_step = {
        _key(row, ARCHITECTURE): [
            float(row[name]) / float(row["budget_steps"]) for name in TRAINING
        ]
        for row in timed
    }
    evaluation = {_key(row, (*ARCHITECTURE, *COMPRESSION)): row[EVALUATION] for row in timed}
    for row in rows:
        for name, seconds in zip(TRAINING, by_step[_key(row, ARCHITECTURE)], strict=True):
            row[name] = f"{seconds * float(row['budget_steps']):.3f}"
        row[EVALUATION] = evaluation[_key(row, (*ARCHITECTURE, *COMPRESSION))]
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    click.echo(f"{table}: seconds of {len(rows):,} rows from {len(timed):,}")


def _rows(path: Path) -> list[Row]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _key(row: Row, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(row[name] for name in names if name in row)


if __name__ == "__main__":
    main()
