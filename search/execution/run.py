"""A run of a search: data, trials, further seeds of the frontier, its test, figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from objectives.completion import completed
from objectives.data.batch_lengths import batch_lengths
from objectives.data.held_out import check_fine_tuning
from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.runtimes.names import check_runtime
from objectives.store.store import Store
from search.equal_bytes import equal_bytes, missing_dense_trials
from search.execution.cluster import may_run_another
from search.execution.final_test import test_frontier, untested
from search.execution.gpus.discovery import start_lines
from search.execution.jobs import enqueue
from search.execution.listener import Ending, Limits, Listener
from search.execution.node_checks import connect
from search.execution.references import measure_references
from search.execution.trainable import RemoteFunctions
from search.execution.training_speeds import measure_costs, with_speeds
from search.execution.tuning import Callbacks, tune_repeats, tune_trials
from search.execution.worker_setup import WorkerSetup, code_for_workers
from search.pareto import best, frontier
from search.plots.figures import write_figures
from search.samplers.frontier.earlier import warm_start_report
from search.seeds import FEWEST_FOR_AN_INTERVAL, Repeats, Tested
from search.storage.budget_facts import described_data
from search.storage.lease import lease_of
from search.storage.lease_holder import LeaseHolder, holding_lease, local_lease
from search.storage.removal import removed_if_unused
from search.storage.states import State
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.storage.widening import unused_widenings
from search.tracking.sync import MlflowSync
from search.tracking.tracker import Tracker, tracking
from spaces.cost.configuration import Configuration
from spaces.errors import UserError
from spaces.file.resources import Resources
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, home
from spaces.grid.gpus import least_placement
from spaces.loading import with_facts

FLUSH_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome(Ending):
    """How a run of a search file ended.

    Args:
        study: The record.
        everything_tracked: Whether MLflow has everything.
        figures: The folder of its figures; None where they could not be written.
    """

    study: Study
    everything_tracked: bool
    figures: Path | None


def run(
    search: SearchFile, listener: Listener, *, trials: Sequence[Mapping[str, Any]] | None = None
) -> Outcome:
    """Run a search until it has its trials, its hours are over, or nothing new is left.

    A second call resumes after a stop or a crash: finished trials are in the study, unfinished ones
    are taken over (``Study.take_over_unfinished``), and training continues from its checkpoints
    (``objectives.training.trainer``).

    Ctrl-C (SIGINT) ends running trials, and the run returns; in a thread that is not the main one,
    only the request to stop does.

    Args:
        trials: Trials to run besides those that there are, by their parameters in Optuna, however
            long that takes; by default the search runs to the number of the file.

    Raises:
        UserError: The data, the store, the study or the cluster cannot be used; nothing was
            trained, and the study is as it was.
        KeyboardInterrupt: Ctrl-C came while no trial ran; the search is recorded as stopped.
    """
    limits = Limits(
        search.trials, search.hours, search.gpu_hours, stops_early=search.stop == "auto"
    )
    with _starting(search, listener) as started:
        study = started.study
        if trials is not None:
            started.connect()
            limits = Limits(len(study.records()) + enqueue(study, trials))
        finished = sum(record.is_finished for record in study.records())
        ended, interrupted = f"all {limits.trials} trials were already done", False
        if finished < limits.trials or study.has_enqueued:
            ended, interrupted = started.run_trials(limits)
        interrupted = interrupted or started.holder.must_stop
        if not interrupted and search.seeds >= FEWEST_FOR_AN_INTERVAL:
            interrupted = started.run_dense_models()
        if not interrupted:
            interrupted = started.run_repeats(_repeated(study, search.seeds), search.seeds)
        return started.end(ended, "stopped" if interrupted else "finished", interrupted=interrupted)


def confirm(
    study: Study, url: str, listener: Listener, *, seeds: int, limits: Mapping[str, float]
) -> Outcome:
    """Train the finalists of a search with further seeds, and score them on the test split.

    The finalists are the frontier; with limits, the best model within them. After an interruption
    the same call continues.

    Args:
        url: SQLAlchemy URL of the storage that the study is in.
        seeds: Seeds that each finalist has in the end, its own included.
        limits: Highest value by cost (``size_mb``, …).

    Raises:
        StudyError: Another process runs the search.
        UserError: No model of the search meets the limits, or the search cannot be run.
    """
    before = lease_of(study.attributes)
    with _starting(search_at(study, url), listener) as started:
        records, criteria = started.study.records(), started.study.search.criteria
        found = best(records, criteria, limits)
        if found is None:
            raise UserError(f"search {study.search.name!r} has no complete trial within the limits")
        finalists = [found] if limits else frontier(records, criteria)
        interrupted = started.run_repeats(finalists, seeds)
        # How the search itself ended stays as it was; one that was killed has stopped.
        ended: str = "" if before is None else before.ended
        state: State = "stopped" if before is None or not before.ended else before.state
        return started.end(ended, state, interrupted=interrupted)


def search_at(study: Study, url: str) -> SearchFile:
    """The search file of a study, for a run in the storage that the study is in."""
    search = study.search
    if Locations.of(search.storage).study_url == url:
        return search
    storage = search.storage.model_copy(update={"study": url})
    return search.model_copy(update={"storage": storage})


@contextmanager
def _starting(search: SearchFile, listener: Listener) -> Iterator[_Started]:
    """Open the study of a search and hold its lease, with its data prepared and MLflow informed."""
    where = Locations.of(search.storage)
    store = Store(where.store_url, max_bytes=where.store_max_bytes)
    store.check_writable()
    check_runtime(search.measurement.runtime)
    with local_lease(search.name, home() / "leases"), ExitStack() as stack:
        search, _ = completed(search, where.data, listener.info)
        recorded = Study.open_as_recorded(search, where.study_url)
        stack.enter_context(removed_if_unused(recorded))
        holder = stack.enter_context(holding_lease(recorded, listener.must_stop))
        data = {
            name: _prepare(search.alone(name), where.data, listener)
            for name in search.checkpoints or ("",)
        }
        task, batch_size = search.task.name, search.training.batch_size
        lengths = {name: batch_lengths(each, task, batch_size) for name, each in data.items()}
        facts = described_data(data, lengths)
        recorded.check_data(facts)
        if (majority := next(iter(data.values())).majority) is not None:
            search = with_facts(search, majority=majority)
        connect = cache(partial(_connect, search, holder, stack, listener))
        if recorded.search != search or not recorded.data:
            # A cluster that is refused leaves the study as it is.
            connect()
        study = Study.open(search, where.study_url)
        study.set_data(facts)
        for change in unused_widenings(study):
            listener.info(f"space widened: {change}; the hypervolume refers to the new space")
        for line in warm_start_report(study):
            listener.info(line)
        sync = MlflowSync(study, where, lambda: holder.has_lost_lease)
        tracker = stack.enter_context(tracking(study, sync, FLUSH_SECONDS))
        yield _Started(study, tuple(data.values()), store, holder, tracker, listener, connect)


@dataclass(eq=False)
class _Started:
    """A search whose lease is held; it is connected to Ray when something is to be computed.

    Args:
        connect: Connects to Ray for the time of the run, if it is not connected; returns the
            resources of trials there.
    """

    study: Study
    data: tuple[PreparedData, ...]
    store: Store
    holder: LeaseHolder
    tracker: Tracker
    listener: Listener
    connect: Callable[[], Resources]
    _tested: Tested = field(default_factory=Tested)

    def run_trials(self, limits: Limits) -> tuple[str, bool]:
        """Run the trials of the search; returns why they ended, and whether they were
        stopped."""
        remote = self._remote
        with self.listener.following(self.study, limits):
            measure_costs(self.study, remote, self.listener)
            return tune_trials(self.study, limits, remote, self._callbacks)

    def run_dense_models(self) -> bool:
        """Evaluate the dense models that the frontier is compared with; returns whether it was
        stopped."""
        study = self.study
        missing = missing_dense_trials(study.space, study.records())
        if not missing:
            return False
        self.connect()
        for parameters in missing:
            study.optuna.enqueue_trial(parameters, skip_if_exists=True)
        self.listener.info(f"dense models of the same bytes: {len(missing)} trials")
        return self.run_trials(Limits(len(study.records()) + len(missing)))[1]

    def run_repeats(self, records: Sequence[TrialRecord], seeds: int) -> bool:
        """Run what some trials lack of so many seeds; returns whether it was stopped."""
        repeats = self.study.repeats()
        missing = Repeats(repeats).missing(records, seeds)
        count = len(missing) + sum(not each.is_finished for each in repeats)
        if not count:
            return False
        models = len({each.number for each in missing})
        self.listener.info(
            f"further seeds of training: {models} models of {len(records)}, {count} repeats"
        )
        remote = self._remote
        with self.listener.repeating(self.study, count):
            return tune_repeats(self.study, missing, remote, self._callbacks)

    def end(self, ended: str, state: State, *, interrupted: bool) -> Outcome:
        """Test the final models unless the run was interrupted, draw the figures, send the rest to
        MLflow, and release."""
        study, search = self.study, self.study.search
        # The frontier of an interrupted search is not final: it goes on to choose.
        if not interrupted and untested(study):
            test_frontier(study, self._remote, self.listener)
        reports = Locations.of(search.storage).reports / search.name
        figures = _write_figures(study, reports, self.listener)
        self.tracker.notify()
        tracked = self.tracker.close(FLUSH_SECONDS)
        self.holder.end(state, ended)
        return Outcome(ended, interrupted, self.holder.must_stop, study, tracked, figures)

    @cached_property
    def _remote(self) -> RemoteFunctions:
        self.study.use_resources(self.connect())
        for line in start_lines(self.study):
            self.listener.info(line)
        search = self.study.search
        folders = tuple(str(data.folder) for data in self.data)
        code = code_for_workers(search.task)
        setup = WorkerSetup(
            search.resolved().model_dump_json(),
            folders,
            code=code,
            retries=search.resources.retries,
        )
        setup = with_speeds(setup, self.study, self.listener)
        remote = RemoteFunctions(setup, search.resources)
        measure_references(self.study, remote, self.listener)
        return remote

    @property
    def _callbacks(self) -> Callbacks:
        return Callbacks(
            may_start=self._may_start,
            must_stop=lambda: self.holder.must_stop,
            on_change=self._on_change,
            warn=self.listener.warn,
        )

    def _may_start(self, running: Sequence[Configuration]) -> bool:
        if self.holder.must_stop or self.holder.has_lost_lease:
            return False
        search = self.study.search
        placements = [search.placement(each.architecture) for each in running]
        least = least_placement(self.study.space)
        return may_run_another(search.concurrency, search.address, least, placements)

    def _on_change(self, record: TrialRecord) -> None:
        self.listener.changed(record)
        self.tracker.notify()
        if record.is_finished:
            final = self._tested.update(self.study.changes(self._tested.mark), self.study.criteria)
            needed = [each.result[kind] for each in final for kind in ("model", "checkpoint")]
            self.store.pins.write(needed, self.study.study_id)


def _repeated(study: Study, seeds: int) -> list[TrialRecord]:
    """Trials that further seeds are trained for: the frontier, and what it is compared with where
    the seeds are enough for an interval."""
    records = study.records()
    chosen = frontier(records, study.search.criteria)
    if seeds >= FEWEST_FOR_AN_INTERVAL:
        chosen += [each for row in equal_bytes(study.space, records) for each in row.trials]
    return list({each.number: each for each in chosen}.values())


def _prepare(search: SearchFile, folder: Path, listener: Listener) -> PreparedData:
    started = time.monotonic()
    if search.model is None and search.task.needs:
        # This process then needs no torch.
        data = prepare(search.data, search.task, folder)
    else:
        from objectives.tasks import prepare_for

        data = prepare_for(search, folder)
        for vocabulary in search.space.vocabulary.values if search.space.vocabulary else ():
            prepare_for(search, folder, vocabulary)
    if search.training.fine_tuning is not None:
        examples = data.labelled_examples or 0
        check_fine_tuning(search.training.fine_tuning, examples, search.training.batch_size)
    seconds = time.monotonic() - started
    counts = ", ".join(f"{count:,} {name}" for name, count in data.counts.items())
    listener.info(f"data: {counts} ({seconds:.1f} s)")
    for warning in data.warnings():
        listener.warn(warning)
    return data


def _connect(
    search: SearchFile, holder: LeaseHolder, stack: ExitStack, listener: Listener
) -> Resources:
    resources = connect(search, stack, listener)
    holder.has_begun = True
    return resources


def _write_figures(study: Study, folder: Path, listener: Listener) -> Path | None:
    """Write the figures; None where they cannot be written, which fails no search."""
    try:
        write_figures(study, folder)
    except OSError as error:
        listener.warn(f"the figures were not written: {error}")
        return None
    return folder
