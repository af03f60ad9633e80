"""The trials of a run, distributed by Ray Tune."""

from __future__ import annotations

import itertools
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from objectives.store import heartbeat
from search.execution.cluster import demand, pending_jobs
from search.execution.jobs import Jobs, RepeatJobs, SampledJobs
from search.execution.listener import Limits
from search.execution.trainable import RemoteFunctions, evaluate, stored
from search.execution.worker_setup import WorkerSetup
from search.process_state import set_variables, signals_kept
from search.samplers.base import StudySampler
from search.samplers.frontier.earlier import earlier_trials
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace, StoredBy
from search.samplers.measured_costs import recorded_costs
from search.samplers.optuna_samplers import FeasibleSampler
from search.seeds import Repeat
from search.storage.base_study import BaseStudy
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.configuration import Configuration
from spaces.file.resources import Retries


@dataclass(frozen=True)
class Callbacks:
    """How a run takes part in its trials.

    Args:
        may_start: Whether one more job may start beside those of some configurations.
        must_stop: Whether running trials must end too.
        on_change: Called when a trial starts or ends.
        warn: Called with a line when a worker dies, waits, or finds a damaged checkpoint.
    """

    may_start: Callable[[list[Any]], bool]
    must_stop: Callable[[], bool]
    on_change: Callable[[TrialRecord[Any]], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class Worker:
    """What runs a job in Ray's workers.

    Args:
        function: Called with the configuration of a job, as the searcher suggests it.
        resources: What a job occupies: Ray's ``PlacementGroupFactory`` of its configuration.
        deadline_seconds: Longest time without a heartbeat.
        retries: How often a trial is continued after the death of its worker.
        pending: Jobs that may wait for resources at a time, for which an autoscaler adds nodes.
    """

    function: Callable[[dict[str, Any]], None]
    resources: Callable[[dict[str, Any]], Any]
    deadline_seconds: float
    retries: Retries
    pending: int = 1


def tune_trials(
    study: Study, limits: Limits, remote: RemoteFunctions, callbacks: Callbacks
) -> tuple[str, bool]:
    """Run trials until a limit is reached, or until the search is interrupted or must stop.

    Returns:
        Why it ended, and whether it was stopped before a limit was reached.
    """
    # Not before latencies are known: they decide which compressions fit a constraint.
    unfinished = [each for each in study.take_over_unfinished() if each.repeats is None]
    make = partial(_sampler, study, _asked_once(remote), stops=limits.stops_early)
    study.optuna.sampler = sampler = make()
    deadline = math.inf if limits.hours is None else time.monotonic() + 3600 * limits.hours
    jobs = SampledJobs(study, sampler, trials=limits.trials, deadline=deadline)
    callbacks = with_current_sampler(study, jobs, make, callbacks)
    worker = _worker(study, remote)
    ended = run_jobs(study, jobs, unfinished, worker, callbacks, gpu_hours=limits.gpu_hours)
    return how_it_ended(study, ended, limits.trials, deadline)


def with_current_sampler(
    study: Study, jobs: SampledJobs, make: Callable[[], StudySampler], callbacks: Callbacks
) -> Callbacks:
    """Callbacks that also make the sampler again when times that it knows were restated: its
    costs, and what it takes for too slow, are those of a slower machine."""
    known = study.best_references()

    def on_change(record: TrialRecord[Any]) -> None:
        nonlocal known
        if study.space.measured and known != (best := study.best_references()):
            known, study.space.measured = best, recorded_costs(study)
            jobs.sampler = study.optuna.sampler = make()
        callbacks.on_change(record)

    return replace(callbacks, on_change=on_change)


def how_it_ended(
    study: BaseStudy[Any], ended: str, trials: int, deadline: float
) -> tuple[str, bool]:
    """Why a run of trials ended, and whether it was stopped before a limit was reached.

    Args:
        ended: What ``run_jobs`` returned.
        trials: Finished trials after which no new one starts.
        deadline: Monotonic time after which no new one starts.
    """
    finished = sum(record.is_finished for record in study.records())
    if ended:
        return f"{ended}, after {finished} trials", False
    if finished >= trials:
        return f"{finished} trials are done", False
    progress = f"{finished} of {trials} trials; the same command resumes the search"
    if time.monotonic() > deadline:
        return f"time limit reached after {progress}", False
    return f"interrupted after {progress}", True


def tune_repeats(
    study: Study, missing: Sequence[Repeat], remote: RemoteFunctions, callbacks: Callbacks
) -> bool:
    """Run repeats of trials with further seeds, those first that an earlier run left unfinished.

    Returns:
        Whether it was stopped before all were finished.
    """
    unfinished = [each for each in study.take_over_unfinished() if each.repeats is not None]
    jobs = RepeatJobs(study, missing)
    run_jobs(study, jobs, unfinished, _worker(study, remote), callbacks)
    return not (jobs.are_over and all(each.is_finished for each in study.repeats()))


def run_jobs(
    study: BaseStudy[Any],
    jobs: Jobs,
    unfinished: list[TrialRecord[Any]],
    worker: Worker,
    callbacks: Callbacks,
    *,
    gpu_hours: float | None = None,
) -> str:
    """Run jobs on Ray Tune; returns why they ended early, if they did.

    In the main thread, Tune handles SIGINT while trials run: it ends them and returns.

    Args:
        gpu_hours: GPU-hours of all trials of the study after which no new one starts.
    """
    from ray import tune

    from search.execution.gpus.meter import GpuMeter
    from search.execution.searcher import StudySearcher
    from search.execution.watchdog import StopRequest, Watchdog, killed_for_memory_is_a_failed_task

    set_variables({"TUNE_MAX_PENDING_TRIALS_PG": str(worker.pending)})
    watchdog = Watchdog(worker.deadline_seconds, callbacks.warn)
    meter = GpuMeter(itertools.chain(*study.records_and_repeats()), gpu_hours)
    searcher = StudySearcher(
        study,
        jobs,
        unfinished=unfinished,
        death_of=watchdog.death_of,
        retries=worker.retries,
        meter=meter,
        may_start=callbacks.may_start,
        on_change=callbacks.on_change,
        warn=callbacks.warn,
    )
    with (
        tempfile.TemporaryDirectory(prefix="tlc-tune-") as scratch,
        signals_kept(),
        killed_for_memory_is_a_failed_task(),
    ):
        tuner = tune.Tuner(
            tune.with_resources(worker.function, worker.resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                # The searcher ends the run: a job whose worker dies comes again as another.
                num_samples=-1,
                reuse_actors=True,
            ),
            # What Tune writes about the experiment is not used: the study is the record.
            run_config=tune.RunConfig(
                storage_path=scratch,
                name=study.name,
                verbose=0,
                callbacks=[watchdog, meter],
                stop=StopRequest(callbacks.must_stop),
                # It shows nothing. The one that Tune chooses in a notebook clears the cell.
                progress_reporter=tune.CLIReporter(),
            ),
        )
        tuner.fit()
    return searcher.ended


def _asked_once(remote: RemoteFunctions) -> StoredBy:
    """What the store has of the runs of a space, which is the same list at each call.

    While trials occupy the cluster, no task could look again; what they train, a sampler knows.
    """
    found: list[tuple[bool, bool]] = []

    def is_stored(runs: list[Configuration]) -> list[tuple[bool, bool]]:
        if not found:
            found.extend(remote.over_configurations(stored)(runs))
        return found

    return is_stored


def _sampler(study: Study, is_stored: StoredBy, *, stops: bool) -> StudySampler:
    """The sampler that the search file names."""
    search = study.search
    if search.sampler == "frontier":
        design_space = SearchDesignSpace(study.space, is_stored, earlier_trials(study))
        return FrontierSampler(design_space, seed=search.seed, stops=stops)
    # A resumed search must not draw the same numbers again.
    seed = search.seed + len(study.records())
    return FeasibleSampler(
        study.space,
        search.sampler,
        seed=seed,
        trials=search.trials,
        needs_at_least=search.needs_at_least,
    )


def _worker(study: Study, remote: RemoteFunctions) -> Worker:
    search = study.search
    return Worker(
        function=_trainable(remote.setup),
        resources=partial(demand, search.placement),
        deadline_seconds=search.resources.progress_deadline_seconds,
        retries=search.resources.retries,
        pending=pending_jobs(search.concurrency, search.address),
    )


def _trainable(setup: WorkerSetup) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs in its workers, with what is the same for all trials."""

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        from search.execution.watchdog import HeartbeatSender

        sender = HeartbeatSender(tune.get_context().get_trial_id())
        with heartbeat.listening(sender, sender.stored):
            outcomes = evaluate(setup, config["configurations"])
            for number, outcome in zip(config["numbers"], outcomes, strict=True):
                # As text, because Tune flattens nested results before a searcher sees them.
                tune.report({"number": number, "outcome": json.dumps(outcome, allow_nan=False)})

    return trial
