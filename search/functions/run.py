"""A run of a search with a function: the trials, distributed by Ray Tune."""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from functools import cache, partial
from typing import Any, Protocol

from objectives.store.store import Store
from search.execution.cluster import (
    bundle,
    cluster,
    may_run_another,
    pending_jobs,
    seconds_for_nodes,
)
from search.execution.gpus.discovery import gpu_notices
from search.execution.jobs import SampledJobs
from search.execution.listener import Ending, Limits
from search.execution.node_checks import check_capacity
from search.execution.tuning import Callbacks, Worker, how_it_ended, run_jobs
from search.functions.worker import FunctionSetup, Objective, serialised, trainable
from search.samplers.base import StudySampler
from search.samplers.functions.earlier import earlier_trials, warm_start_report
from search.samplers.functions.sampler import FunctionSampler
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.base_study import BaseStudy
from search.storage.function_study import FunctionStudy
from search.storage.lease_holder import LeaseHolder, holding_lease, local_lease
from search.storage.removal import removed_if_unused
from search.storage.states import State
from search.storage.trials import TrialRecord
from search.storage.widening import unused_widenings
from search.tracking.function_sync import FunctionSync
from search.tracking.tracker import Tracker, tracking
from spaces.file.storage import Locations, home
from spaces.functions.points import CostFunction, FunctionSpace, StagesFunction
from spaces.functions.search import FunctionSearch

FLUSH_SECONDS = 30.0


class FunctionListener(Protocol):
    """What a run reports to."""

    def info(self, line: str) -> None:
        """A step of the run."""

    def warn(self, line: str) -> None:
        """Something that a person should know, and that does not end the run."""

    def following(self, study: BaseStudy[Any], limits: Limits) -> AbstractContextManager[None]:
        """Entered while trials run."""

    def must_stop(self) -> None:
        """The search was asked to stop."""

    def changed(self, record: TrialRecord[Any]) -> None:
        """A trial started or ended."""


def run_function(
    search: FunctionSearch,
    objective: Objective,
    listener: FunctionListener,
    *,
    cost: CostFunction | None = None,
    stages: StagesFunction | None = None,
) -> Ending:
    """Run a search with a function until it has its trials, or its hours are over.

    A second call resumes: finished trials are in the study, and unfinished ones are called again,
    with the same number and the same folder.

    Args:
        objective: The function.
        cost: Costs that are known before a trial.
        stages: Stages that a trial needs.

    Raises:
        UserError: The store, the study, the cluster or one of the functions cannot be used.
    """
    space = FunctionSpace(search, cost, stages)
    space.check()
    sent = serialised(objective)
    where = Locations.of(search.storage)
    store = Store(where.store_url)
    store.check_writable()
    store.remove_unfinished()
    with local_lease(search.name, home() / "leases"), ExitStack() as stack:
        recorded = FunctionStudy.open_as_recorded(search, where.study_url)
        stack.enter_context(removed_if_unused(recorded))
        holder = stack.enter_context(holding_lease(recorded, listener.must_stop))
        connect = cache(partial(_connect, search, holder, stack, listener))
        if recorded.search != search:
            # A cluster that is refused leaves the study as it is.
            connect()
        study = FunctionStudy.open(space, where.study_url)
        for change in unused_widenings(study):
            listener.info(f"space widened: {change}")
        for line in warm_start_report(study):
            listener.info(line)
        sync = FunctionSync(study, where, lambda: holder.has_lost_lease)
        finished = sum(record.is_finished for record in study.records())
        with tracking(study, sync, FLUSH_SECONDS) as tracker:
            ended, interrupted = f"all {search.trials} trials were already done", False
            if finished < search.trials or study.has_enqueued:
                connect()
                ended, interrupted = _run_trials(study, sent, where, holder, tracker, listener)
            state: State = "stopped" if interrupted or holder.must_stop else "finished"
            tracker.notify()
        holder.end(state, ended)
        return Ending(ended, state == "stopped", holder.must_stop)


def _connect(
    search: FunctionSearch, holder: LeaseHolder, stack: ExitStack, listener: FunctionListener
) -> None:
    """Connect to Ray for as long as the stack is open, and check that trials can run there."""
    at = f"connecting to Ray at {search.address}" if search.address else "starting Ray"
    listener.info(f"{at} …")
    stack.enter_context(cluster(search.address))
    check_capacity(
        {"resources": search.resources.placement},
        wait_seconds=seconds_for_nodes(search.concurrency, search.address, search.resources),
        info=listener.info,
    )
    for line in gpu_notices(search.resources.gpus, None):
        listener.info(line)
    holder.has_begun = True


def _run_trials(
    study: FunctionStudy,
    sent: bytes,
    where: Locations,
    holder: LeaseHolder,
    tracker: Tracker,
    listener: FunctionListener,
) -> tuple[str, bool]:
    search = study.search
    limits = Limits(
        search.trials, search.hours, search.gpu_hours, stops_early=search.stop == "auto"
    )

    def on_change(record: TrialRecord[Any]) -> None:
        listener.changed(record)
        tracker.notify()

    def may_start(running: list[Any]) -> bool:
        if holder.must_stop or holder.has_lost_lease:
            return False
        placement = search.resources.placement
        beside = [placement] * len(running)
        return may_run_another(search.concurrency, search.address, placement, beside)

    callbacks = Callbacks(
        may_start=may_start,
        must_stop=lambda: holder.must_stop,
        on_change=on_change,
        warn=listener.warn,
    )
    with listener.following(study, limits):
        unfinished = study.take_over_unfinished()
        sampler = make_sampler(study)
        study.optuna.sampler = sampler
        deadline = math.inf if limits.hours is None else time.monotonic() + 3600 * limits.hours
        jobs = SampledJobs(study, sampler, trials=limits.trials, deadline=deadline)
        worker = _worker(study, sent, where)
        ended = run_jobs(study, jobs, unfinished, worker, callbacks, gpu_hours=limits.gpu_hours)
        return how_it_ended(study, ended, limits.trials, deadline)


def _worker(study: FunctionStudy, sent: bytes, where: Locations) -> Worker:
    search = study.search
    setup = FunctionSetup(
        required=search.required,
        costs=search.costs,
        taken=search.taken,
        # A study that was deleted and made again has new trials of the same numbers.
        folder=str(home() / "trials" / f"{search.name}-{study.study_id}"),
        store=where.store_url,
        store_max_bytes=where.store_max_bytes,
        scope=study.stage_scope,
        paths=tuple(os.path.abspath(path) for path in sys.path),
    )
    wanted = bundle(search.resources.placement)

    def resources(config: dict[str, Any]) -> Any:
        from ray.tune import PlacementGroupFactory

        return PlacementGroupFactory([wanted])

    return Worker(
        function=trainable(setup, sent),
        resources=resources,
        deadline_seconds=search.resources.progress_deadline_seconds,
        retries=search.resources.retries,
        pending=pending_jobs(search.concurrency, search.address),
    )


def make_sampler(study: FunctionStudy) -> StudySampler:
    """The sampler that the search names."""
    search, records = study.search, study.records()
    if search.sampler == "frontier":
        tried = [record.configuration.params for record in records]
        return FunctionSampler(
            study.space,
            tried,
            seed=search.seed,
            earlier=earlier_trials(study),
            stops=search.stop == "auto",
        )
    # A resumed search must not draw the same numbers again.
    seed = search.seed + len(records)
    return FeasibleSampler(study.space, search.sampler, seed=seed, trials=search.trials)
