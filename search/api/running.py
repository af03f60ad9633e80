"""Running and opening a search."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from search.api.frames import searches_frame
from search.api.function_results import FunctionResults
from search.api.progress import Logged, showing
from search.api.results import Results
from search.process_state import restored
from search.results.functions import function_summaries
from search.results.queries import StudyQueries
from search.storage.function_study import has_function
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.storage import Locations, Storage
from spaces.functions.points import CostFunction, StagesFunction
from spaces.functions.search import FunctionSearch, read_function_search
from spaces.grid.plan import Plan
from spaces.loading import Overrides, SearchLike, read_search

if TYPE_CHECKING:
    import pandas as pd

    from search.analysis.compared_searches import Comparison
    from search.functions.worker import Objective


@overload
def run(
    search: SearchLike,
    *,
    set: Overrides = (),
    address: str | None = None,
    progress: bool | None = None,
) -> Results: ...


@overload
def run(
    search: Mapping[str, Any] | FunctionSearch,
    *,
    objective: Objective,
    cost: CostFunction | None = None,
    stages: StagesFunction | None = None,
    address: str | None = None,
    progress: bool | None = None,
) -> FunctionResults: ...


@restored()
def run(
    search: SearchLike | FunctionSearch,
    *,
    objective: Objective | None = None,
    cost: CostFunction | None = None,
    stages: StagesFunction | None = None,
    set: Overrides = (),
    address: str | None = None,
    progress: bool | None = None,
) -> Results | FunctionResults:
    """Run a search, or resume the one of its name.

    Finished trials are kept, and training continues from the last checkpoint. A Ray that this
    process is connected to is used and left running; without one, Ray is started on this machine
    and stopped at the end.

    Args:
        search: A path, the name of a ready-made search, a mapping or a search file; with an
            objective, a mapping with ``name``, ``space``, ``objectives`` and ``trials``.
        objective: A function of a trial that trains and returns metrics by name; by default tlc
            trains, as the search file says. It resumes by the name of the search, and whether its
            code is the same is for its author to know.
        cost: Costs that are known before a trial, by name, from a dictionary of its values; it is
            called some thousand times.
        stages: Keys of the ``trial.stage`` calls of a trial, from a dictionary of its values, so
            that the sampler knows which trials share work.
        set: Fields to override, such as ``{"space.depth.high": 8}`` or ``["trials=50"]``.
        address: ``HOST:PORT``, or ``auto``, of a Ray cluster that this machine is a node of.
        progress: Whether to show a bar; by default in a terminal and in a notebook.

    Returns:
        The results. Their ``state`` is ``stopped`` after ``tlc stop`` ended the search.

    Raises:
        UserError: The search file, the data, the store, the study or the cluster cannot be used.
        KeyboardInterrupt: Ctrl-C, or the interruption of a notebook's cell. Finished trials are
            recorded: ``open`` has their results, and the same call resumes.
    """
    if objective is not None:
        if not isinstance(search, Mapping | FunctionSearch) or set:
            raise UserError(
                "objective: its search is a mapping with name, space, objectives and trials; a "
                "search file has a task, and set changes its fields"
            )
        return _run_function(search, objective, cost, stages, address, progress)
    if isinstance(search, FunctionSearch) or cost is not None or stages is not None:
        raise UserError("objective: is missing; cost and stages belong to one")
    from search.execution.run import run as run_search

    loaded = read_search(search, set, address=address)
    with showing(progress) as listener:
        outcome = run_search(loaded, listener)
    if outcome.interrupted and not outcome.was_asked:
        raise KeyboardInterrupt(outcome.ended)
    return Results(loaded.name, Locations.of(loaded.storage).study_url)


def _run_function(
    given: Mapping[str, Any] | FunctionSearch,
    objective: Objective,
    cost: CostFunction | None,
    stages: StagesFunction | None,
    address: str | None,
    progress: bool | None,
) -> FunctionResults:
    from search.functions.run import run_function

    for name, given_function in (("objective", objective), ("cost", cost), ("stages", stages)):
        if given_function is not None and not callable(given_function):
            raise UserError(f"{name}: {given_function!r:.100} cannot be called; give a function")
    search = read_function_search(given, address=address)
    with showing(progress) as listener:
        outcome = run_function(search, objective, listener, cost=cost, stages=stages)
    if outcome.interrupted and not outcome.was_asked:
        raise KeyboardInterrupt(outcome.ended)
    return FunctionResults(search.name, Locations.of(search.storage).study_url)


@restored()
def open_results(name: str, *, study: str | None = None) -> Results | FunctionResults:
    """Open the results of a search that was run before, or that runs now.

    Args:
        name: Name of the search.
        study: SQLAlchemy URL of the study; by default ``TLC_STUDY``, or ``study.db`` in
            ``TLC_HOME`` (or ``.tlc``).

    Raises:
        NoSuchStudy: There is no search of this name.
    """
    url = study_url(study)
    return FunctionResults(name, url) if has_function(name, url) else Results(name, url)


def searches(*, study: str | None = None) -> pd.DataFrame:
    """All searches of a study's database, a row for each.

    Args:
        study: SQLAlchemy URL, as of ``open``.
    """
    url = study_url(study)
    return searches_frame([*StudyQueries(url).searches(), *function_summaries(url)])


@restored()
def compare(
    *names: str, study: str | None = None, to: str | os.PathLike[str] | None = None
) -> Comparison:
    """Compare searches of one task and data, and write a page with their frontiers.

    Hypervolumes are fractions of one box, with the highest cost of all as the reference point.

    Args:
        names: Names of two or more searches.
        study: SQLAlchemy URL, as of ``open``.
        to: Folder of ``comparison.html``; by default among the reports of the first search.

    Raises:
        NoSuchStudy: There is no search of a name.
        UserError: They are of different tasks, data, metrics or costs.
    """
    from search.analysis.compared_searches import compare as compare_searches

    url = study_url(study)
    studies = [Study.load(name, url) for name in names]
    return compare_searches(studies, None if to is None else Path(to))


@restored()
def plan(search: SearchLike, *, set: Overrides = ()) -> Plan:
    """Compute sizes, FLOPs and training steps of a search, without training.

    Args:
        search: A path, the name of a ready-made search, a mapping or a search file.
        set: Fields to override, as of ``run``.

    Raises:
        UserError: The search file cannot be used.
    """
    from search.api.planning import plan_search

    planned = plan_search(search, set)
    for warning in planned.warnings:
        Logged().warn(warning)
    return planned.plan


@restored()
def confirm(
    study: Study, url: str, *, seeds: int, limits: Mapping[str, float], progress: bool | None
) -> None:
    """Train the finalists of a search again with further seeds, as ``Results.confirm``."""
    from search.execution.run import confirm as confirm_search

    with showing(progress) as listener:
        outcome = confirm_search(study, url, listener, seeds=seeds, limits=limits)
    if outcome.interrupted and not outcome.was_asked:
        raise KeyboardInterrupt(f"interrupted; confirm of search {study.search.name!r} continues")


def study_url(url: str | None) -> str:
    """The given URL of the study, that of the environment, or that of the local study."""
    return url or os.environ.get("TLC_STUDY") or Locations.of(Storage()).study_url
