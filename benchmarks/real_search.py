"""Real searches with different samplers for the same wall-clock: hypervolume side by side.

Each search starts in a folder of its own, so that no training is shared between them. Within a
search all samplers share training, as every search of tlc does. Searches that were made are kept in
the folder and not made again, so a run that was stopped goes on.

    python benchmarks/real_search.py --minutes 4 --seeds 3
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from search.pareto import Scale, frontier, hypervolume_of
from search.storage.study import Study
from search.storage.trials import TrialRecord

SHARES = (0.25, 0.5, 1.0)
"""Of the wall-clock, at which hypervolumes are compared."""


@click.command()
@click.argument("search", default="default")
@click.option("--minutes", default=4.0, show_default=True, help="Wall-clock of each search.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--sampler", "samplers", multiple=True, default=["frontier", "tpe"])
@click.option("--folder", default=".tlc/real_search", show_default=True, type=Path)
def main(search: str, minutes: float, seeds: int, samplers: tuple[str, ...], folder: Path) -> None:
    """Run SEARCH with each sampler and seed, one after another."""
    lines = Table(box=None, header_style="bold", pad_edge=False)
    lines.add_column("sampler")
    for name in ("seed", "trials", "steps", *(f"at {60 * minutes * s:.0f} s" for s in SHARES)):
        lines.add_column(name, justify="right")
    lines.add_column("frontier", justify="right")
    finals: dict[str, list[float]] = {sampler: [] for sampler in samplers}
    for seed in range(seeds):
        for sampler in samplers:
            home = (folder / f"{search}-{minutes:g}min-{sampler}-{seed}").absolute()
            if not (home / "finished").exists():
                # A search that was cut off would go on with its whole time again.
                shutil.rmtree(home, ignore_errors=True)
                _run(search, sampler, seed, minutes, home)
                (home / "finished").touch()
            study = Study.load("real", f"sqlite:///{home / 'study.db'}")
            records = [record for record in study.records() if record.is_complete]
            reached = _hypervolumes(study, records, minutes)
            finals[sampler].append(reached[-1])
            lines.add_row(
                sampler,
                str(seed),
                str(len(records)),
                f"{sum(r.result['steps']['trained'] for r in records):,}",
                *(f"{share:.3f}" for share in reached),
                str(len(frontier(records, study.search.criteria))),
            )
    console = Console(width=110)
    console.print(lines)
    for sampler, shares in finals.items():
        console.print(f"{sampler}: median hypervolume {statistics.median(shares):.3f}")


def _run(search: str, sampler: str, seed: int, minutes: float, home: Path) -> None:
    settings = {
        "name": "real",
        "sampler": sampler,
        "seed": seed,
        "hours": minutes / 60,
        "trials": 100_000,
        "stop": "trials",
    }
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    subprocess.run(
        [sys.executable, "-m", "search.cli", "run", search, *overrides],
        env={**os.environ, "TLC_HOME": str(home)},
        check=True,
    )


def _hypervolumes(study: Study, records: list[TrialRecord], minutes: float) -> list[float]:
    """Hypervolume of what was finished at each share of the wall-clock."""
    scale = Scale.of(study.space)
    begun = min(record.started for record in records if record.started)
    return [
        hypervolume_of(
            [
                record
                for record in records
                if record.finished
                and (record.finished - begun).total_seconds() <= 60 * minutes * share
            ],
            study.search,
            scale,
        )
        for share in SHARES
    ]


if __name__ == "__main__":
    main()
