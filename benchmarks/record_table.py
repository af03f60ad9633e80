"""Record the table of a search: train, compress and measure every configuration of its space.

Each architecture is trained once along its stable path, and each trained model is compressed with
every method. Rows are appended as they are measured, so that an interrupted recording continues.

    python benchmarks/record_table.py benchmarks/tables/embedded.yaml embedded.csv
"""

from __future__ import annotations

import csv
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from objectives.completion import completed
from objectives.measurement.evaluation import Evaluation
from objectives.objective import Objective
from search.replay.table_export import columns_of, identity, identity_columns, row
from spaces.cost.configuration import Configuration
from spaces.errors import UserError
from spaces.file.storage import Locations
from spaces.grid.search_space import SearchSpace
from spaces.loading import load


@click.command()
@click.argument("search")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE")
def main(search: str, table: Path, overrides: tuple[str, ...]) -> None:
    """Record the space of SEARCH in TABLE, in one process on one core."""
    try:
        file = load(search, overrides)
        file, _ = completed(file, Locations.of(file.storage).data, click.echo)
    except UserError as error:
        raise click.UsageError(str(error)) from error
    space = SearchSpace(file)
    wanted = sorted(map(space.configuration, space.points()), key=_training)
    if not table.exists():
        table.write_text(",".join(columns_of(space)) + "\n")
    with table.open() as recorded:
        known = {identity(line, space) for line in csv.DictReader(recorded)}
    objective = Objective(file)
    started, done = time.monotonic(), 0
    missing = [c for c in wanted if identity(identity_columns(c, space), space) not in known]
    with table.open("a", newline="") as out:
        writer = csv.DictWriter(out, columns_of(space))
        for _, group in groupby(missing, key=_training):
            for configuration, outcome in objective.evaluate_each(group):
                done += 1
                if isinstance(outcome, Evaluation):
                    writer.writerow(row(configuration, space, outcome.to_dict()))
                else:
                    click.echo(f"left out: {configuration}: {outcome}")
            out.flush()
            left = (time.monotonic() - started) / done * (len(missing) - done)
            click.echo(f"{done:5}/{len(missing)}  {configuration}  about {left / 60:.0f} min left")


def _training(configuration: Configuration) -> tuple[Any, ...]:
    architecture = configuration.architecture
    sizes = architecture.depth, architecture.width, architecture.heads, architecture.feed_forward
    return *sizes, configuration.training, configuration.budget


if __name__ == "__main__":
    main()
