"""Commands on what models cost in other runtimes and on other machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.cli.options import (
    NOTHING_FOUND,
    as_json,
    limited,
    make_console,
    open_study,
    study_url,
)
from search.formatting import latency_text
from spaces.cost.compression import RuntimeName

if TYPE_CHECKING:
    from rich.table import Table

    from search.analysis.machine_costs import RuntimeCosts


@click.command()
@click.argument("name")
@limited
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=click.Choice([*map(str, RuntimeName)]),
    help="What runs the models; default: those that are installed. Repeatable.",
)
@click.option("--imported", is_flag=True, help="Measure nothing; show what was imported.")
@as_json
@study_url
def measure(
    name: str,
    limits: dict[str, float],
    runtimes: tuple[str, ...],
    imported: bool,
    as_json: bool,
    url: str | None,
) -> int:
    """Measure the models on the frontier of the search NAME in runtimes, on this machine.

    Limits are on what the search measured. The size is that of the file that the runtime executes,
    the latency that of a forward pass under the conditions of the search (section measurement), in
    turn with a dense reference model of two layers and a width of 128 in the same runtime. What was
    imported from other machines (tlc import-measurements) stands beside it. What the search
    recorded stays as it is.
    """
    if imported and runtimes:
        raise click.UsageError("give either --imported or --runtime, not both")
    study = open_study(name, url)
    from objectives.runtimes.names import installed_runtimes
    from search.analysis.machine_costs import imported_costs
    from search.analysis.runtime_costs import frontier_within, runtime_costs

    records = frontier_within(study, limits)
    names = [*map(RuntimeName, dict.fromkeys(runtimes))] or installed_runtimes()
    with make_console(stderr=True).status("measuring"):
        here = [] if imported else list(runtime_costs(study, records, names))
    places = {record.number: place for place, record in enumerate(records)}
    rows = [*here, *imported_costs(study, records)]
    rows.sort(key=lambda row: places[row.trial])
    if as_json:
        click.echo(json.dumps([row.model_dump() for row in rows], indent=2))
    elif rows:
        make_console().print(_runtime_table(rows, study.search.metric.name))
    elif records:
        click.echo(f"search {name!r} has no imported measurements of these models", err=True)
    else:
        click.echo(f"search {name!r} has no feasible complete trial within limits", err=True)
    return 0 if rows else NOTHING_FOUND


@click.command()
@click.argument("name")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@study_url
def import_measurements(name: str, files: tuple[Path, ...], url: str | None) -> None:
    """Add measurements of exported models, made on other machines, to the search NAME.

    \b
      tlc export NAME --frontier --onnx --to models
      python models/trial-7/load_and_run.py --measure trial-7.json     # there
      tlc import-measurements NAME trial-7.json
      tlc measure NAME                                                 # all machines
    """
    from search.analysis.machine_costs import import_measurements as add

    for each in add(open_study(name, url), files):
        measured = ", ".join(f"{one.runtime} {one.p10_ms:.3f} ms" for one in each.measured)
        click.echo(f"{each.machine} ({each.processor}): {measured}")


def _runtime_table(rows: Sequence[RuntimeCosts], metric: str) -> Table:
    from search.cli.printing.tables import make_table

    columns = ("trial", "model", metric, "machine", "runtime", "size MB", "latency ms")
    table = make_table(*columns, "of reference", left=("model", "machine", "runtime"))
    for row in rows:
        table.add_row(
            str(row.trial),
            row.model,
            f"{row.score:.4g}",
            f"{row.machine}, batch {row.batch_size}, threads {row.threads}",
            row.runtime,
            f"{row.size_mb:.4f}",
            latency_text(row.latency_ms, noisy=row.noisy),
            "" if row.of_reference is None else f"{row.of_reference:.2f}",
        )
    return table
