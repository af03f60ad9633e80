"""Hypervolume of real searches with different samplers after the same wall time.

Each search has a folder of its own, so that searches share no training. Within a search every
sampler shares training. Finished searches are kept in the folder, so that an interrupted run of
this script continues. TPE draws its first ten trials at random: a search that ends before
``--least`` trials does not compare samplers and is reported as invalid.

    python benchmarks/real_search.py --minutes 6 --seeds 3
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

from search.hypervolume import Scale, hypervolume_of
from search.pareto import frontier
from search.storage.study import Study
from search.storage.trials import TrialRecord

FRACTIONS = (0.25, 0.5, 1.0)
"""Fractions of the wall time at which hypervolumes are compared."""


@click.command()
@click.argument("search", default="default")
@click.option("--minutes", default=6.0, show_default=True, help="Wall time of each search.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--sampler", "samplers", multiple=True, default=["frontier", "tpe"])
@click.option("--least", default=20, show_default=True, help="Trials that a valid search has.")
@click.option("--folder", default=".tlc/real_search", show_default=True, type=Path)
def main(
    search: str, minutes: float, seeds: int, samplers: tuple[str, ...], least: int, folder: Path
) -> None:
    """Run SEARCH with each sampler and seed, one after another."""
    lines = Table(box=None, header_style="bold", pad_edge=False)
    lines.add_column("sampler")
    for name in ("seed", "trials", "steps", *(f"at {60 * minutes * s:.0f} s" for s in FRACTIONS)):
        lines.add_column(name, justify="right")
    lines.add_column("frontier", justify="right")
    finals: dict[str, list[float]] = {sampler: [] for sampler in samplers}
    invalid: list[str] = []
    for seed in range(seeds):
        for sampler in samplers:
            home = (folder / f"{search}-{minutes:g}min-{sampler}-{seed}").absolute()
            if not (home / "finished").exists():
                # An interrupted search would continue with its whole time.
                shutil.rmtree(home, ignore_errors=True)
                _run(search, sampler, seed, minutes, home)
                (home / "finished").touch()
            study = Study.load("real", f"sqlite:///{home / 'study.db'}")
            records = [record for record in study.records() if record.is_complete]
            reached = _hypervolumes(study, records, minutes)
            finals[sampler].append(reached[-1])
            if len(records) < least:
                invalid.append(f"{sampler}, seed {seed}: {len(records)} of {least} trials")
            lines.add_row(
                sampler,
                str(seed),
                str(len(records)),
                f"{sum(r.result['steps']['trained'] for r in records):,}",
                *(f"{volume:.3f}" for volume in reached),
                str(len(frontier(records, study.search.criteria))),
            )
    console = Console(width=110)
    console.print(lines)
    for sampler, volumes in finals.items():
        console.print(f"{sampler}: median hypervolume {statistics.median(volumes):.3f}")
    if invalid:
        raise click.ClickException(f"too few trials, give more --minutes: {'; '.join(invalid)}")


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
    """Hypervolume of the trials that had finished at each fraction of the wall time."""
    scale = Scale.of(study.space)
    begun = min(record.started for record in records if record.started)
    return [
        hypervolume_of(
            [
                record
                for record in records
                if record.finished
                and (record.finished - begun).total_seconds() <= 60 * minutes * fraction
            ],
            study.search.criteria,
            scale,
        )
        for fraction in FRACTIONS
    ]


if __name__ == "__main__":
    main()
