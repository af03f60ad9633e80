"""The hours that ``tlc plan`` says of a search, beside those that the search then takes.

Each search tries a small grid, so that all that the plan counts is trained, in a home of its own,
so that nothing is stored before. Other programs on the machine slow the search and not the plan,
which takes the fastest of several rounds: run it on a quiet machine.

    python benchmarks/hours.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import click

SEARCHES = ("images", "causal_lm", "masked_lm")
GRID = {
    "sampler": "grid",
    "trials": 16,
    "hours": 1,
    "seeds": 1,
    "space.depth": "{choices: [1, 2]}",
    "space.width": "{choices: [32, 64]}",
    "space.budget": "{unit: steps, choices: [200, 400]}",
    "space.quantisation": "{choices: [none, rtn-8]}",
    "space.sparsity": "0.0",
}
TOLERANCE = 0.3
"""Of the ratio of what was said to what it took."""


@click.command()
@click.argument("searches", nargs=-1)
def main(searches: tuple[str, ...]) -> None:
    """Plan and run each of SEARCHES, ready-made searches without a task of labelled texts."""
    missed = []
    for search in searches or SEARCHES:
        with tempfile.TemporaryDirectory() as home:
            planned = 3600 * json.loads(_tlc("plan", search, home, "--json"))["hours"]
            started = time.monotonic()
            _tlc("run", search, home)
            taken = time.monotonic() - started
        ratio = planned / taken
        click.echo(f"{search}: planned {planned:.0f} s, took {taken:.0f} s, ratio {ratio:.2f}")
        if abs(ratio - 1.0) > TOLERANCE:
            missed.append(search)
    if missed:
        raise click.ClickException(f"beyond {TOLERANCE:.0%}: {', '.join(missed)}")


def _tlc(command: str, search: str, home: str, *options: str) -> str:
    overrides = [word for key, value in GRID.items() for word in ("--set", f"{key}={value}")]
    return subprocess.run(
        [sys.executable, "-m", "search.cli", command, search, *overrides, *options],
        env={**os.environ, "TLC_HOME": home},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    main()
