"""Seconds of a proposal, with 1,000 and 10,000 trials, in a space of a million configurations.

The frontier sampler beside Optuna's TPE and GP on the same history, in memory.

    python benchmarks/ask_time.py
"""

from __future__ import annotations

import resource
import statistics
import time

import click
import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState, create_trial

from search.frontier_sampler import FrontierSampler
from search.grid import distributions
from search.records import RESULT
from search.space_menu import SpaceMenu
from spaces.loading import load
from spaces.search_space import SearchSpace

OVERRIDES = (
    "space.depth.high=12",
    "space.width={low: 32, high: 640, step: 32}",
    "space.budget={unit: steps, low: 200, high: 102400, log: true}",
    "space.sparsity={low: 0.0, high: 0.9, step: 0.01}",
)
ASKS = 10
GP_LIMIT = 1000
"""Longest history that Optuna's GP is asked with: its time grows with the cube."""


@click.command()
@click.option("--trials", multiple=True, type=int, default=[1000, 10_000], show_default=True)
def main(trials: tuple[int, ...]) -> None:
    """Time proposals of each sampler."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = SearchSpace(load("default", OVERRIDES))
    started = time.perf_counter()
    menu = SpaceMenu(space)
    click.echo(f"{space.size:,} configurations; menu {time.perf_counter() - started:.1f} s")
    for count in trials:
        history = _history(space, menu, count)
        samplers: dict[str, BaseSampler] = {
            "frontier": FrontierSampler(menu, seed=0),
            "tpe": TPESampler(seed=0, multivariate=True, constant_liar=True),
        }
        if count <= GP_LIMIT:
            samplers["gp"] = GPSampler(seed=0)
        for name, sampler in samplers.items():
            times = _times(space, sampler, history)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            click.echo(
                f"{count:6,} trials  {name:9} first {times[0]:.3f} s  median of the next "
                f"{len(times) - 1} {statistics.median(times[1:]):.3f} s  longest "
                f"{max(times[1:]):.3f} s  peak {peak:,.0f} MB"
            )


def _history(space: SearchSpace, menu: SpaceMenu, count: int) -> list[optuna.trial.FrozenTrial]:
    rng = np.random.default_rng(0)
    grid = distributions(space)
    made = []
    for _ in range(count):
        run = int(rng.integers(len(menu.menu.runs)))
        compression = int(rng.integers(len(menu.menu.compressions)))
        parameters = menu.parameters(run, compression)
        accuracy, steps = _accuracy(menu, run, compression), menu.menu.steps[run]
        seconds = {"stable": steps / 50, "cooldown": steps / 200, "compress": 0.1, "measure": 0.2}
        made.append(
            create_trial(
                params=parameters,
                distributions=grid,
                values=[accuracy, _size(menu, run, compression)],
                user_attrs={RESULT: {"examples": 1000, "seconds": seconds}},
            )
        )
    return made


def _accuracy(menu: SpaceMenu, run: int, compression: int) -> float:
    """A smooth law with noise: more of anything helps, compression hurts."""
    learnt = menu.menu.runs[run, :3].sum() / 20
    lost = menu.menu.compressions[compression].sum() / 4
    noise = np.random.default_rng([run, compression]).normal(0.0, 0.01)
    return float(np.clip(0.5 + learnt - lost + noise, 0.1, 0.99))


def _size(menu: SpaceMenu, run: int, compression: int) -> float:
    logarithm = menu.menu.log_costs(np.array([run]))[0, compression]
    return float(10**logarithm) if np.isfinite(logarithm) else 1.0


def _times(
    space: SearchSpace, sampler: BaseSampler, history: list[optuna.trial.FrozenTrial]
) -> list[float]:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.add_trials(history)
    grid: dict[str, IntDistribution] = distributions(space)  # type: ignore[assignment]
    times = []
    for _ in range(ASKS + 1):
        started = time.perf_counter()
        trial = study.ask(grid)  # type: ignore[arg-type]
        times.append(time.perf_counter() - started)
        study.tell(trial, state=TrialState.FAIL)
    return times


if __name__ == "__main__":
    main()
