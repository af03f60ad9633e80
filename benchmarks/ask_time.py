"""Time and memory of a proposal with 1,000 and 10,000 trials, in a space of a million points.

The frontier sampler, TPE and Optuna's GP get the same history, each in a process of its own whose
peak memory is printed. The first proposal fits the surrogate; later ones fit it again every 128
trials. Between two proposals the last trial completes. With 255 running trials (256 workers), one
of them also fails and another starts.

    python benchmarks/ask_time.py
"""

from __future__ import annotations

import random
import resource
import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import click
import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState, create_trial

from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.storage.optuna_space import distributions, parameters_from
from search.storage.trials import RESULT
from spaces.grid.search_space import SearchSpace
from spaces.loading import load

OVERRIDES = (
    "space.depth.high=12",
    "space.width={low: 32, high: 640, step: 32}",
    "space.budget={unit: steps, low: 200, high: 102400, log: true}",
    "space.sparsity={low: 0.0, high: 0.9, step: 0.01}",
)
ASKS = 10
GP_LIMIT = 1000
"""Longest history for Optuna's GP, whose time grows with the cube of its length."""


@click.command()
@click.option("--trials", multiple=True, type=int, default=[1000, 10_000], show_default=True)
def main(trials: tuple[int, ...]) -> None:
    """Time proposals of each sampler."""
    for count in trials:
        for name in SAMPLERS:
            if name == "gp" and count > GP_LIMIT:
                continue
            for running in (0, 255) if name == "frontier" else (0,):
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    click.echo(pool.submit(_line, name, count, running).result())


def _line(name: str, count: int, running: int) -> str:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    space = SearchSpace(load("classification", OVERRIDES))
    searched = SearchDesignSpace(space)
    times = _times(
        space, searched, SAMPLERS[name](searched), _history(space, searched, count), running
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{count:6,} trials, {running:3} running, of {space.size:,}  {name:9} "
        f"first {times[0]:.3f} s  median of the next {len(times) - 1} "
        f"{statistics.median(times[1:]):.3f} s  longest {max(times[1:]):.3f} s  peak {peak:,.0f} MB"
    )


def _history(
    space: SearchSpace, searched: SearchDesignSpace, count: int
) -> list[optuna.trial.FrozenTrial]:
    rng = np.random.default_rng(0)
    grid = distributions(space)
    made = []
    for _ in range(count):
        run = int(rng.integers(len(searched.design_space.runs)))
        compression = int(rng.integers(len(searched.design_space.compressions)))
        made.append(
            create_trial(
                params=searched.parameters(run, compression),
                distributions=grid,
                values=_values(searched, run, compression),
                user_attrs={RESULT: _result(searched, run)},
            )
        )
    return made


def _values(searched: SearchDesignSpace, run: int, compression: int) -> list[float]:
    return [_quality(searched, run, compression), _size(searched, run, compression)]


def _result(searched: SearchDesignSpace, run: int) -> dict[str, Any]:
    steps = searched.design_space.steps[run]
    seconds = {
        "stable": steps / 50, "cooldown": steps / 200, "recovery": 0.0, "compress": 0.1,
        "measure": 0.2,
    }  # fmt: skip
    return {"examples": 1000, "seconds": seconds}


def _quality(searched: SearchDesignSpace, run: int, compression: int) -> float:
    """A smooth function with noise: larger and longer is better, compression is worse."""
    learnt = searched.design_space.runs[run, :3].sum() / 20
    lost = searched.design_space.compressions[compression].sum() / 4
    noise = np.random.default_rng([run, compression]).normal(0.0, 0.01)
    return float(np.clip(0.5 + learnt - lost + noise, 0.1, 0.99))


def _size(searched: SearchDesignSpace, run: int, compression: int) -> float:
    logarithm = searched.design_space.log_costs(np.array([run]))[0, compression]
    return float(10**logarithm) if np.isfinite(logarithm) else 1.0


def _times(
    space: SearchSpace,
    searched: SearchDesignSpace,
    sampler: BaseSampler,
    history: list[optuna.trial.FrozenTrial],
    running: int,
) -> list[float]:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.add_trials(history)
    rng = random.Random(1)

    def start() -> optuna.Trial:
        study.enqueue_trial(parameters_from(space, space.random_point(rng)))
        return study.ask(searched.distributions)

    others = deque(start() for _ in range(running))
    times = []
    for _ in range(ASKS + 1):
        started = time.perf_counter()
        trial = study.ask(searched.distributions)
        times.append(time.perf_counter() - started)
        run, compression = searched.candidate_from(trial.params)
        trial.set_user_attr(RESULT, _result(searched, run))
        study.tell(trial, _values(searched, run, compression))
        if others:
            study.tell(others.popleft(), state=TrialState.FAIL)
            others.append(start())
    return times


SAMPLERS: dict[str, Callable[[SearchDesignSpace], BaseSampler]] = {
    "frontier": lambda searched: FrontierSampler(searched, seed=0),
    "tpe": lambda _: TPESampler(seed=0, multivariate=True, constant_liar=True),
    "gp": lambda _: GPSampler(seed=0),
}

if __name__ == "__main__":
    main()
