"""Running a search: prepare, ask, distribute with Ray Tune, tell, and test the frontier once."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.store.store import Store
from search.execution.cluster import (
    cluster,
    demand,
    has_capacity,
    interrupted_by_sigterm,
    task_options,
)
from search.execution.node_checks import check_nodes
from search.execution.progress import Progress
from search.pareto import Scale, frontier
from search.plots.figures import write_figures
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.known_latencies import measured_latencies
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.lease_holder import holding_lease, local_lease
from search.storage.study import Study
from search.storage.trials import ERROR, TrialRecord
from search.tracking.tracker import Tracker
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, home
from spaces.grid.search_space import SearchSpace

FLUSH_SECONDS = 30.0
TESTS_AT_A_TIME = 16
"""Models that one process scores on the test split: it takes longer to start than to score one."""
RETRIES = {False: 1, True: 4}
"""Times that a job goes on after the death of its process, here and on a cluster, where a machine
may go away under it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """How a run of a search ended.

    Args:
        study: The record.
        ended: Why no more trials were started.
        interrupted: Whether a signal stopped it before its end.
        everything_tracked: Whether MLflow has everything.
        figures: The folder of its figures; None where they could not be written.
    """

    study: Study
    ended: str
    interrupted: bool
    everything_tracked: bool
    figures: Path | None


def run(search: SearchFile, console: Console, *, trials: int | None = None) -> Outcome:
    """Run a search until it has its trials, its hours are over, or nothing new is left.

    Started again after a stop or a crash, it goes on where it was.

    Args:
        search: A validated search file, which the study keeps.
        console: Where progress is printed.
        trials: Trials to run it to this time, however long that takes; without, the file says when
            it ends.

    Raises:
        UserError: The data, the store, the study or the cluster cannot be used; nothing was
            trained.
    """
    limits = search
    if trials is not None:
        limits = search.model_copy(update={"trials": trials, "hours": None, "stop": "trials"})
    where = Locations.of(search.storage)
    store = Store(where.store_url, max_bytes=where.store_max_bytes)
    store.check_writable()
    with ExitStack() as stack:
        stack.enter_context(local_lease(search.name, home() / "leases"))
        study = Study.open(search, where.study_url)
        holder = stack.enter_context(holding_lease(study))
        stack.enter_context(interrupted_by_sigterm())
        data = _prepare(search, where, console)
        study.set_data(data.describe())
        scale = Scale.of(study.space)
        tracker = Tracker(study, where, lambda: holder.has_lost_lease)
        tracker.start()
        stack.callback(tracker.close, FLUSH_SECONDS)
        records = study.records()
        is_done = sum(r.is_finished for r in records) >= limits.trials and not study.has_enqueued
        ended, interrupted = f"all {limits.trials} trials were there already", False
        if not is_done or _untested(study):
            at = f"connecting to Ray at {search.address}" if search.address else "starting Ray"
            console.print(f"{at} …", style="dim")
            stack.enter_context(cluster(search))
            if search.address:
                check_nodes(search)
            progress = stack.enter_context(Progress(limits, scale, records, console))

            def on_change(record: TrialRecord) -> None:
                progress(record)
                tracker.notify()
                if record.is_finished:
                    needed = _addresses(frontier(study.records(), search.criteria))
                    store.pins.write(needed, study.study_id)

            def may_start(running: Sequence[Configuration]) -> bool:
                return not holder.has_lost_lease and has_capacity(search, running)

            if not is_done:
                _measure_latencies(study, data, console)
                ended, interrupted = _tune(study, limits, data, on_change, progress.tell, may_start)
            _test_frontier(study, data, progress.tell)
        figures = _write_figures(study, where, console)
        tracker.notify()
        tracked = tracker.close(FLUSH_SECONDS)
        holder.end("stopped" if interrupted else "finished", ended)
        return Outcome(study, ended, interrupted, tracked, figures)


def _write_figures(study: Study, where: Locations, console: Console) -> Path | None:
    """The folder with the figures, or None where they cannot be written."""
    folder = where.reports / study.search.name
    try:
        write_figures(study, folder)
    except OSError as error:
        # What the figures are drawn from is safe, and a search of days does not fail for them.
        console.print(f"the figures were not written: {error}", style="yellow", soft_wrap=True)
        return None
    return folder


def _prepare(search: SearchFile, where: Locations, console: Console) -> PreparedData:
    started = time.monotonic()
    data = prepare(search.data, search.task, where.data)
    seconds = time.monotonic() - started
    counts = ", ".join(f"{count:,} {name}" for name, count in data.counts.items())
    console.print(f"data: {counts} ({seconds:.1f} s)", style="dim", highlight=False)
    return data


def _measure_latencies(study: Study, data: PreparedData, console: Console) -> None:
    """Where the search limits or weighs latency, measure it before anything is trained."""
    from search.execution import trainable as worker

    search = study.search
    if search.cost.name != "latency_ms" and search.constraints.max_latency_ms is None:
        return
    started = time.monotonic()
    console.print("measuring latencies of untrained models …", style="dim")
    measure = _remotely(worker.latencies, search, data)
    study.space.latency_of = measured_latencies(study, measure)
    seconds = time.monotonic() - started
    console.print(f"latencies known ({seconds:.1f} s)", style="dim", highlight=False)


def _remotely(
    function: Callable[[str, str, list[dict[str, Any]]], list[T]],
    search: SearchFile,
    data: PreparedData,
) -> Callable[[list[Configuration]], list[T]]:
    """A function of ``search.execution.trainable`` over configurations, run once by Ray."""
    import ray

    remote = ray.remote(**task_options(search))(function)

    def call(configurations: list[Configuration]) -> list[T]:
        points = [configuration.to_dict() for configuration in configurations]
        result: list[T] = ray.get(
            remote.remote(search.resolved().model_dump_json(), str(data.folder), points)
        )
        return result

    return call


def _tune(
    study: Study,
    limits: SearchFile,
    data: PreparedData,
    on_change: Callable[[TrialRecord], None],
    tell: Callable[[str], None],
    has_capacity: Callable[[Sequence[Configuration]], bool],
) -> tuple[str, bool]:
    """Run trials with Ray Tune, within limits; returns why it ended, and whether a signal ended it.

    The limits are those of a search file, which need not be the study's own.
    """
    from ray import tune

    from search.execution.searcher import StudySearcher
    from search.execution.watchdog import Watchdog

    search = study.search
    # Not before latencies are known, which decide what fitted compressions are.
    unfinished = study.take_over_unfinished()
    sampler = _sampler(search, study.space, limits, data, len(study.records()))
    study.optuna.sampler = sampler
    hours = float("inf") if limits.hours is None else limits.hours
    deadline = time.monotonic() + 3600 * hours
    watchdog = Watchdog(search.resources.progress_deadline_seconds, tell)
    searcher = StudySearcher(
        study,
        sampler,
        unfinished=unfinished,
        why=watchdog.why,
        trials=limits.trials,
        retries=RETRIES[search.address is not None],
        deadline=deadline,
        has_capacity=has_capacity,
        on_change=on_change,
        tell=tell,
    )
    with tempfile.TemporaryDirectory(prefix="tlc-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                _trainable(search.resolved().model_dump_json(), str(data.folder)),
                partial(demand, search),
            ),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                # As many as the searcher has: a job whose worker dies comes again as another.
                num_samples=-1,
                reuse_actors=True,
            ),
            # What Tune writes about the experiment is thrown away: the study is the record.
            run_config=tune.RunConfig(
                storage_path=scratch,
                name=search.name,
                verbose=0,
                callbacks=[watchdog],
            ),
        )
        tuner.fit()
    finished = sum(record.is_finished for record in study.records())
    if searcher.ended:
        return f"{searcher.ended}, after {finished} trials", False
    if finished >= limits.trials:
        return f"{finished} trials are done", False
    left = f"{finished} of {limits.trials} trials; the same command goes on"
    if time.monotonic() > deadline:
        return f"the time is over after {left}", False
    return f"interrupted after {left}", True


def _sampler(
    search: SearchFile, space: SearchSpace, limits: SearchFile, data: PreparedData, finished: int
) -> FeasibleSampler | FrontierSampler:
    from search.execution import trainable as worker

    if search.sampler == "frontier":
        searched = SearchDesignSpace(space, _remotely(worker.stored, search, data))
        return FrontierSampler(searched, seed=search.seed, stops=limits.stop == "auto")
    # A resumed search must not draw what it drew before.
    seed = search.seed + finished
    return FeasibleSampler(space, search.sampler, seed=seed, trials=search.trials)


def _trainable(search: str, data: str) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs in its workers, with what is the same for all trials."""

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        from search.execution.trainable import evaluate
        from search.execution.watchdog import watched

        with watched(tune.get_context().get_trial_id()):
            outcomes = evaluate(search, data, config["configurations"])
            for number, outcome in zip(config["numbers"], outcomes, strict=True):
                # As text, because Tune flattens nested results before a searcher sees them.
                tune.report({"number": number, "outcome": json.dumps(outcome, allow_nan=False)})

    return trial


def _untested(study: Study) -> list[TrialRecord]:
    """Members of the frontier for which the test split was not read."""
    known = study.tests()
    return [r for r in frontier(study.records(), study.search.criteria) if r.number not in known]


def _test_frontier(study: Study, data: PreparedData, tell: Callable[[str], None]) -> None:
    """Read the test split, once for each member of the final frontier."""
    import ray

    from search.execution.trainable import test_scores

    search, members = study.search, _untested(study)
    remote = ray.remote(**task_options(search))(test_scores)
    batches = [
        members[start : start + TESTS_AT_A_TIME]
        for start in range(0, len(members), TESTS_AT_A_TIME)
    ]
    futures = [
        remote.remote(
            search.resolved().model_dump_json(),
            str(data.folder),
            [member.result["model"] for member in batch],
        )
        for batch in batches
    ]
    for batch, future in zip(batches, futures, strict=True):
        for member, found in zip(batch, ray.get(future), strict=True):
            if found.get("state") == ERROR:
                tell(
                    f"#{member.number} could not be scored on the test split; the same command "
                    f"tries again: {found['message'].strip().splitlines()[-1]}"
                )
            else:
                study.set_test(member.number, found)


def _addresses(members: list[TrialRecord]) -> list[str]:
    return [address for r in members for address in (r.result["model"], r.result["checkpoint"])]
