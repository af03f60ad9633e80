"""Seconds of a finished trial, of opening a study and of queries, with 1,000 to 100,000 trials.

The trials and their results are made up and inserted into the tables of Optuna in bulk; MLflow is
taken to have their runs. Then further trials start and finish through the same calls as in a run:
the result is recorded, and the frontier, the hypervolume, the progress line and the mirror in
MLflow follow. ``MLflow`` is the time in MLflow's own client, on SQLite, of the runs of these
trials; in a search a thread of its own waits for it.

    python benchmarks/many_trials.py [--trials 1000 --trials 10000 --trials 100000]
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
from ask_time import OVERRIDES
from made_up import result
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import insert, select

from search.api.progress import Bar
from search.execution.listener import Limits
from search.hypervolume import Scale, hypervolume_of
from search.pareto import frontier
from search.samplers.optuna_samplers import FeasibleSampler
from search.seeds import Tested
from search.storage.optuna_space import distributions, parameters_from
from search.storage.study import Study
from search.storage.trials import CONFIGURATION, FINISH, RESULT
from search.tracking.remote_state import PARENT, RunState
from search.tracking.sync import MlflowSync
from spaces.file.storage import Locations
from spaces.loading import load

EVENTS = 20
BATCH = 2_000
COLUMNS = ("record", "frontier", "hypervolume", "progress", "mirror", "MLflow")


def fill(study: Study, count: int) -> None:
    """Insert finished trials with made-up results."""
    rng, space, grid = random.Random(0), study.space, distributions(study.space)
    stored = {name: distribution_to_json(each) for name, each in grid.items()}
    started = datetime(2026, 1, 1)
    finite = models.TrialValueModel.TrialValueType.FINITE
    with study._storage.engine.begin() as connection:
        for first in range(0, count, BATCH):
            numbers = range(first, min(count, first + BATCH))
            rows = [
                {
                    "number": number,
                    "study_id": study.optuna._study_id,
                    "state": TrialState.COMPLETE,
                    "datetime_start": started + timedelta(seconds=number),
                    "datetime_complete": started + timedelta(seconds=number + 1),
                }
                for number in numbers
            ]
            connection.execute(insert(models.TrialModel), rows)
            ids = connection.execute(
                select(models.TrialModel.trial_id)
                .where(models.TrialModel.number >= first)
                .order_by(models.TrialModel.number)
            ).scalars()
            values, parameters, attributes = [], [], []
            for number, trial in zip(numbers, ids, strict=True):
                point = space.random_point(rng)
                configuration = space.configuration(point)
                size = space.cost(configuration).size_mb
                found = result(rng, size)
                values += [
                    {"trial_id": trial, "objective": k, "value": value, "value_type": finite}
                    for k, value in enumerate((found["score"], size))
                ]
                parameters += [
                    {
                        "trial_id": trial,
                        "param_name": name,
                        "param_value": grid[name].to_internal_repr(value),
                        "distribution_json": stored[name],
                    }
                    for name, value in parameters_from(space, point).items()
                ]
                kept = {CONFIGURATION: configuration.to_dict(), RESULT: found, FINISH: number + 1}
                attributes += [
                    {"trial_id": trial, "key": key, "value_json": json.dumps(value)}
                    for key, value in kept.items()
                ]
            connection.execute(insert(models.TrialValueModel), values)
            connection.execute(insert(models.TrialParamModel), parameters)
            connection.execute(insert(models.TrialUserAttributeModel), attributes)


class Silent:
    """A display that shows nothing."""

    def show(self, line: str) -> None:
        pass

    def close(self) -> None:
        pass


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - started


def mirrored(sync: MlflowSync, study: Study) -> dict[str, float]:
    """Let MLflow have the runs of all trials, and count the seconds in its client."""
    remote, seconds = sync._remote_state(), defaultdict(float)
    records = study.records()
    sync._parent(remote)
    members = {record.number for record in frontier(records, study.criteria)}
    parent = remote.runs[PARENT]
    for record in records:
        key, on_frontier = str(record.number), record.number in members
        remote.runs[key] = uuid.uuid4().hex
        remote.run_states[key] = RunState.of(record, on_frontier=on_frontier, parent=parent)
    remote.steps_sent = len(records)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def timed_call(*arguments: Any, **named: Any) -> Any:
            with timed(seconds, "MLflow"):
                return call(*arguments, **named)

        return timed_call

    for name in ("create_run", "log_batch", "log_dict", "set_terminated", "update_run"):
        setattr(remote.client, name, counted(getattr(remote.client, name)))
    return seconds


def events(url: str) -> dict[str, float]:
    """Seconds of a finished trial, by what they are spent on."""
    seconds: dict[str, float] = defaultdict(float)
    with timed(seconds, "open"):
        study = Study.load("many", url)
        study.records()
    study.optuna.sampler = FeasibleSampler(study.space, "random", seed=0, trials=10**6)
    where, scale = Locations.of(study.search.storage), Scale.of(study.space)
    sync = MlflowSync(study, where)
    in_client = mirrored(sync, study)
    sync._figures_due = float("inf")
    # Its reference model is the first: the latencies of all trials are restated by it.
    study.tell_result(study.ask().number, result(random.Random(2), 0.5))
    sync.send(with_figures=False)
    in_client.clear()
    bar, rng, final = Bar(Silent()), random.Random(1), Tested()
    final.update(study.changes(), study.criteria)
    with bar.following(study, Limits(10**6)):
        numbers = [study.ask().number for _ in range(EVENTS)]
        for number in numbers:
            found = result(rng, 0.1 + rng.random())
            with timed(seconds, "record"):
                study.tell_result(number, found)
                record = study.record(number)
            with timed(seconds, "frontier"):
                members = final.update(study.changes(final.mark), study.criteria)
            with timed(seconds, "hypervolume"):
                hypervolume_of(members, study.criteria, scale)
            with timed(seconds, "progress"):
                bar.changed(record)
            with timed(seconds, "mirror"):
                sync.send(with_figures=False)
    seconds["mirror"] -= in_client["MLflow"]
    seconds["MLflow"] = in_client["MLflow"]
    found = {name: seconds[name] / EVENTS for name in COLUMNS} | {"open": seconds["open"]}
    return found | {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def command_seconds(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-m", "search.cli", *words], check=True, capture_output=True
    )
    return time.perf_counter() - started


@click.command()
@click.option(
    "--trials", multiple=True, type=int, default=[1_000, 10_000, 100_000], show_default=True
)
def main(trials: tuple[int, ...]) -> None:
    """Print a line for each number of trials."""
    for count in trials:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TLC_HOME"] = folder
            url = f"sqlite:///{Path(folder) / 'study.db'}"
            study = Study.open(
                load("classification", ["name=many", "trials=1000000", *OVERRIDES]), url
            )
            assert study.study_id
            fill(study, count)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found = pool.submit(events, url).result()
            parts = ", ".join(f"{name} {1000 * found[name]:.1f}" for name in COLUMNS)
            whole = sum(1000 * found[name] for name in COLUMNS if name != "MLflow")
            click.echo(
                f"{count:7,} trials: {whole:.1f} ms a finished trial without MLflow ({parts}); "
                f"opened in {found['open']:.2f} s, {found['memory_mb']:,.0f} MB"
            )
            queries = {"frontier": (), "best": (), "show": ()}
            times = {name: command_seconds(name, "many", *words) for name, words in queries.items()}
            shown = ", ".join(f"tlc {name} {seconds:.1f} s" for name, seconds in times.items())
            click.echo(f"{'':7}         {shown}")


if __name__ == "__main__":
    main()
