"""The results of a search with a function."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from search.api.choice import NoModelWithinLimits, check_limits
from search.process_state import restored
from search.results.functions import (
    FunctionBest,
    FunctionPrediction,
    FunctionQueries,
    FunctionSummary,
    FunctionTrial,
)
from search.storage.function_study import FunctionStudy
from search.storage.lease import request_stop
from search.storage.states import State
from spaces.errors import UserError

if TYPE_CHECKING:
    import optuna

    from search.maintenance.deletion import Deletion


class FunctionResults:
    """What a search with a function found; each call reads the study as it is then.

    Args:
        name: Name of the search.
        url: SQLAlchemy URL of its study.

    Raises:
        NoSuchStudy: There is no such search.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self._study = FunctionStudy.load(name, url)
        self._queries = FunctionQueries(self._study)

    @property
    def state(self) -> State:
        """``running``, ``finished``, ``stopped`` before its end, ``failed`` or ``lost``."""
        return self._queries.summary().state

    @property
    def study(self) -> optuna.Study:
        """The study, for Optuna's own functions such as its plots."""
        return self._study.optuna

    def trials(self) -> pd.DataFrame:
        """All trials, a row for each, by number.

        Each dimension and each metric has the column of its name.
        """
        return _frame(self._queries.trials(), self._study)

    def trial(self, number: int) -> FunctionTrial:
        """One trial, with the traceback where the function raised.

        Raises:
            NoSuchStudy: There is none of this number.
        """
        return self._queries.trial(number)

    def frontier(self) -> pd.DataFrame:
        """The trials that no other beats on score and cost, the cheapest first; with one objective,
        the best."""
        return _frame(self._queries.frontier(), self._study)

    def best(self, **limits: float) -> FunctionBest:
        """The best trial within limits.

        Args:
            limits: ``max_NAME``, the highest allowed value of any metric that is above 0.

        Raises:
            NoModelWithinLimits: No trial meets them; the error holds the nearest.
        """
        found = self._queries.best(_limits(limits))
        if not found.is_within:
            raise NoModelWithinLimits(_missed(self.name, found), found)
        return found

    def predict(self, **params: Any) -> FunctionPrediction:
        """What is expected of a point, tried or not.

        The prediction comes from the surrogate of the frontier sampler, fitted to the trials.

        Args:
            params: A value of the space for each dimension that has several.

        Raises:
            PredictionError: A dimension is missing or unknown, or has no such value; or no trial is
                complete.
        """
        return self._queries.predict(params)

    def stop(self) -> None:
        """Ask the search, which runs in another thread or process, to stop.

        Raises:
            BusyStudy: It is not running.
        """
        request_stop(self._study)

    def delete(self) -> Deletion:
        """Delete the search: its trials with their folders, and its runs in MLflow.

        Raises:
            BusyStudy: It is running.
            UserError: MLflow is away; nothing was deleted.
        """
        from search.maintenance.deletion import delete

        return delete(self._study, self.url)

    def rename(self, name: str) -> None:
        """Rename the search, with its experiment in MLflow; what runs it has to name it so too. Its
        trials keep their stages, checkpoints and folders.

        Raises:
            StudyError: The name is taken, or the search is running.
            UserError: The name is not allowed, or MLflow is away.
        """
        from search.maintenance.renaming import rename

        rename(self._study, name, self.url)
        self.name, self._study = name, FunctionStudy.load(name, self.url)
        self._queries = FunctionQueries(self._study)

    def export(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: tlc has no model of such a search."""
        raise UserError(
            "export: the models of a search with a function are the function's own; "
            "results.trial(NUMBER).folder has what it wrote"
        )

    register = export

    def claims(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: the claims are about depth, width, budget and compression."""
        raise UserError(
            "claims: they compare depth, width, budget and compression, which a search with a "
            "function need not have"
        )

    def levels(self) -> NoReturn:
        """Refused: the range of the cost is not known beforehand."""
        raise UserError(
            "levels: the range of the cost of a search with a function is not known beforehand; "
            "best(max_NAME=…) takes any limit"
        )

    def confirm(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: what a seed changes is the function's matter."""
        raise UserError(
            "confirm: run the search with another name and seed; what a seed changes is the "
            "function's matter"
        )

    @restored()
    def report(self, to: str | os.PathLike[str] | None = None) -> Path:
        """Write the report, one HTML page that needs no network, and log it to MLflow.

        Args:
            to: Folder of ``report.html``; by default the reports of the search.

        Returns:
            The page.

        Raises:
            UserError: The folder cannot be written.
        """
        from search.analysis.function_report import write_function_report

        return write_function_report(self._study, None if to is None else Path(to)).path

    def __repr__(self) -> str:
        return _line(self._queries.summary())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        table = self.frontier().drop(columns=["state", "message", "started", "finished"])
        return f"<p>{escape(repr(self))}</p>" + str(
            table.to_html(float_format="{:.4g}".format, na_rep="")
        )


def _frame(trials: list[FunctionTrial], study: FunctionStudy) -> pd.DataFrame:
    dimensions = [dimension.name for dimension in study.space.dimensions]
    metrics = dict.fromkeys([*study.search.required, *(n for t in trials for n in t.metrics)])
    columns = [
        "trial", "state", *dimensions, *metrics, "seconds", "started", "finished", "on_frontier",
        "message",
    ]  # fmt: skip
    rows = [{**trial.params, **trial.metrics, **trial.model_dump()} for trial in trials]
    return pd.DataFrame(rows, columns=columns).set_index("trial")


def _limits(given: dict[str, float]) -> dict[str, float]:
    """Limits by metric.

    Raises:
        UserError: One has no such name, or is no number above 0.
    """
    for name in given:
        if not name.startswith("max_"):
            raise UserError(f"{name}: is not a limit; limits look like max_size_mb")
    limits = {name.removeprefix("max_"): limit for name, limit in given.items()}
    check_limits(limits)
    return {name: float(limit) for name, limit in limits.items()}


def _missed(name: str, nearest: FunctionBest) -> str:
    if nearest.trial is None:
        return f"search {name!r} has no complete trial yet"
    missed = ", ".join(
        f"{metric} {nearest.trial.metrics[metric]:.4g} ({factor:.2f} times the limit)"
        for metric, factor in nearest.misses.items()
    )
    return (
        f"no trial of search {name!r} meets the limits; the nearest exceeds: {missed}: "
        f"{repr(nearest.trial)[1:-1]}"
    )


def _line(search: FunctionSummary) -> str:
    facts = [f"{search.complete} of {search.trials} trials complete"]
    if search.failed:
        facts.append(f"{search.failed} failed")
    if search.running:
        facts.append(f"{search.running} running")
    if len(search.objectives) > 1:
        facts.append(f"{len(search.frontier)} on the frontier")
    if search.best_score is not None:
        facts.append(f"best {next(iter(search.objectives))} {search.best_score:.4g}")
    return f"<search {search.name!r}, {search.state}: {', '.join(facts)}>"
