"""A run of a search: prepare the data, run trials, test the frontier, draw the figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from objectives.data.batch_lengths import batch_lengths
from objectives.data.defaults import with_default_sizes
from objectives.data.held_out import check_fine_tuning
from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.store.store import Store
from search.execution.cluster import check_capacity, cluster, has_capacity, interrupted_by_sigterm
from search.execution.final_test import test_frontier, untested_members
from search.execution.listener import Limits, Listener
from search.execution.node_checks import check_nodes
from search.execution.references import measure_references
from search.execution.trainable import RemoteFunctions, latencies
from search.execution.training_speeds import with_speeds
from search.execution.tuning import tune_trials
from search.execution.worker_setup import WorkerSetup
from search.pareto import frontier
from search.plots.figures import write_figures
from search.samplers.known_latencies import measured_latencies
from search.storage.budget_facts import BATCHES
from search.storage.lease_holder import holding_lease, local_lease
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.tracker import Tracker
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, home
from spaces.loading import with_data

FLUSH_SECONDS = 30.0


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


def run(search: SearchFile, listener: Listener, *, trials: int | None = None) -> Outcome:
    """Run a search until it has its trials, its hours are over, or nothing new is left.

    A second call resumes after a stop or a crash: finished trials are in the study, unfinished ones
    are taken over (``Study.take_over_unfinished``), and training continues from its checkpoints
    (``objectives.training.trainer``).

    Args:
        trials: Number of trials to run it to, however long that takes; by default the file's.

    Raises:
        UserError: The data, the store, the study or the cluster cannot be used; nothing was
            trained.
    """
    limits = (
        Limits(search.trials, search.hours, stops_early=search.stop == "auto")
        if trials is None
        else Limits(trials)
    )
    where = Locations.of(search.storage)
    store = Store(where.store_url, max_bytes=where.store_max_bytes)
    store.check_writable()
    with local_lease(search.name, home() / "leases"), ExitStack() as stack:
        search = _with_default_sizes(search, where.data, listener)
        study = Study.open(search, where.study_url)
        holder = stack.enter_context(holding_lease(study))
        stack.enter_context(interrupted_by_sigterm())
        data = _prepare(search, where.data, listener)
        lengths = batch_lengths(data, search.task.name, search.training.batch_size)
        study.set_data(data.describe() | ({BATCHES: asdict(lengths)} if lengths else {}))
        tracker = Tracker(study, where, lambda: holder.has_lost_lease)
        tracker.start()
        stack.callback(tracker.close, FLUSH_SECONDS)

        finished = sum(record.is_finished for record in study.records())
        is_done = finished >= limits.trials and not study.has_enqueued
        ended, interrupted = f"all {limits.trials} trials were already done", False
        if not is_done or untested_members(study):
            _connect(study, stack, listener)
            setup = WorkerSetup(search.resolved().model_dump_json(), str(data.folder))
            if not is_done:
                setup = with_speeds(setup, study, listener)
            remote = RemoteFunctions(setup, search.resources)

            def on_change(record: TrialRecord) -> None:
                listener.changed(record)
                tracker.notify()
                if record.is_finished:
                    members = frontier(study.records(), search.criteria)
                    needed = [m.result[kind] for m in members for kind in ("model", "checkpoint")]
                    store.pins.write(needed, study.study_id)

            def may_start(running: Sequence[Configuration]) -> bool:
                return not holder.has_lost_lease and _may_run_another(search, running)

            with listener.following(study, limits):
                measure_references(study, remote, listener)
                if not is_done:
                    _measure_latencies(study, remote, listener)
                    ended, interrupted = tune_trials(
                        study,
                        limits,
                        remote,
                        may_start=may_start,
                        on_change=on_change,
                        warn=listener.warn,
                    )
                test_frontier(study, remote, listener)
        figures = _write_figures(study, where.reports / search.name, listener)
        tracker.notify()
        tracked = tracker.close(FLUSH_SECONDS)
        holder.end("stopped" if interrupted else "finished", ended)
        return Outcome(study, ended, interrupted, tracked, figures)


def _with_default_sizes(search: SearchFile, folder: Path, listener: Listener) -> SearchFile:
    """The search with the sizes that its file leaves out, which follow the data."""
    missing = search.data.missing_sizes()
    if not missing:
        return search
    data = with_default_sizes(search.data, search.task, folder)
    for name in sorted(missing):
        listener.info(f"data.{name}: {getattr(data, name):,}, which follows the data")
    return with_data(search, data)


def _prepare(search: SearchFile, folder: Path, listener: Listener) -> PreparedData:
    started = time.monotonic()
    data = prepare(search.data, search.task, folder)
    if search.training.fine_tuning is not None:
        examples = data.labelled_examples or 0
        check_fine_tuning(search.training.fine_tuning, examples, search.training.batch_size)
    seconds = time.monotonic() - started
    counts = ", ".join(f"{count:,} {name}" for name, count in data.counts.items())
    listener.info(f"data: {counts} ({seconds:.1f} s)")
    for warning in data.warnings():
        listener.warn(warning)
    return data


def _connect(study: Study, stack: ExitStack, listener: Listener) -> None:
    """Connect to Ray for as long as the stack is open, and check that trials can run there."""
    search = study.search
    at = f"connecting to Ray at {search.address}" if search.address else "starting Ray"
    listener.info(f"{at} …")
    stack.enter_context(cluster(search.address))
    check_capacity(search.resources.placements(study.space.largest_parameters))
    if search.address:
        check_nodes(search)


def _may_run_another(search: SearchFile, running: Sequence[Configuration]) -> bool:
    """Whether one more trial may run beside others: as the file says, else as the cluster is now.

    With a concurrency that exceeds the cluster's capacity, trials wait in Ray, which tells an
    autoscaler to grow.
    """
    if search.concurrency is not None:
        if len(running) >= search.concurrency:
            return False
        if search.address is not None:
            return True
    placements = [search.placement(configuration.architecture) for configuration in running]
    return not running or has_capacity(search.resources, beside=placements)


def _measure_latencies(study: Study, remote: RemoteFunctions, listener: Listener) -> None:
    """Where the search limits or weighs latency, measure it before anything is trained."""
    search = study.search
    if search.cost.name != "latency_ms" and search.constraints.max_latency_ms is None:
        return
    started = time.monotonic()
    listener.info("measuring latencies of untrained models …")
    study.space.latency_of = measured_latencies(study, remote.over_configurations(latencies))
    listener.info(f"latencies known ({time.monotonic() - started:.1f} s)")


def _write_figures(study: Study, folder: Path, listener: Listener) -> Path | None:
    """Write the figures; None where they cannot be written, which fails no search."""
    try:
        write_figures(study, folder)
    except OSError as error:
        listener.warn(f"the figures were not written: {error}")
        return None
    return folder
