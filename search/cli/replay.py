"""Commands on recorded tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from search.cli.options import NOTHING_FOUND, as_json, make_console, open_study, study_url
from spaces.errors import UserError
from spaces.file.sampler_names import SAMPLERS


@click.command()
@click.argument("name")
@study_url
def table(name: str, url: str | None) -> int:
    """Print the complete trials of the search NAME as a CSV table for tlc replay.

    \b
      tlc table default > default.csv
    """
    from search.replay.table_export import write_table

    return 0 if write_table(open_study(name, url), sys.stdout) else NOTHING_FOUND


@click.command()
@click.argument("path", metavar="TABLE", type=click.Path(path_type=Path))
@click.option(
    "--sampler",
    "samplers",
    multiple=True,
    type=click.Choice([*SAMPLERS, "oracle"]),
    default=["frontier"],
    help="Repeatable. oracle knows the table, and gives a greedy bound.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Replays of a sampler.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Simulated.")
@click.option(
    "--sharing/--scratch",
    default=True,
    help="Share training between trials, or train each trial from scratch.",
)
@click.option(
    "--until",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    help="Stop at this fraction of the table's hypervolume.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for replay.json and .png.",
)
@as_json
def replay(
    path: Path, samplers: tuple[str, ...], out: Path | None, as_json: bool, **options: Any
) -> None:
    """Replay samplers against a recorded TABLE (CSV, or CSV.GZ) in simulated time.

    Every trial takes the seconds in the table. The results are the seconds until fractions of the
    table's hypervolume are reached (accuracy against log10 of bytes; reference point: the lowest
    accuracy and the largest size), as median and quartiles over the seeds.
    """
    from search.replay import report as replay_report
    from search.replay.row_samplers import replays
    from search.replay.table import Table

    recorded = Table.read(path)
    if out is not None:
        # Before the replays, which take minutes.
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: {out} cannot be created: {error.strerror}") from error
    summaries = []
    for sampler in samplers:
        with make_console().status(f"{sampler}, {options['seeds']} seeds"):
            summaries.append(replays(recorded, sampler, **options))
    results = json.dumps(replay_report.describe(recorded, summaries), indent=2)
    if out is not None:
        (out / "replay.json").write_text(f"{results}\n")
        replay_report.draw(recorded, summaries, out / "replay.png")
    if as_json:
        click.echo(results)
        return
    replay_report.print_summaries(recorded, summaries, make_console())
