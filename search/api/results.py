"""The results of a search, and what can be made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from search.api.choice import Limits, best_within, limits_by_cost, trial_within
from search.api.frames import dimension_names, frontier_frame, levels_frame, trials_frame
from search.api.summary import summary_html, summary_text
from search.process_state import restored
from search.results.queries import LONGEST_PAGE, StudyQueries
from search.results.schemas import Best, Prediction, Trial, TrialDetails
from search.storage.lease import request_stop
from search.storage.states import SearchState
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import COSTS
from spaces.errors import UserError

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from search.analysis.claims.report import ClaimsReport
    from search.maintenance.deletion import Deletion
    from search.registry.export import ExportedModel
    from search.registry.registry import Registration


class Results:
    """What a search found; each call reads the study as it is then, also while the search runs.

    Args:
        name: Name of the search.
        url: SQLAlchemy URL of its study.

    Raises:
        NoSuchStudy: There is no search of this name.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self._study = Study.load(name, url)
        self._queries = StudyQueries(url)

    @property
    def state(self) -> SearchState:
        """``running``, ``finished``, ``stopped`` before its end, ``failed`` or ``lost``."""
        return self._queries.search(self.name).state

    @property
    def study(self) -> optuna.Study:
        """The study, for Optuna's own functions such as its plots."""
        return self._study.optuna

    def trials(self, *, repeats: bool = False) -> pd.DataFrame:
        """All trials, a row for each, by number.

        A dimension has the column of its name, a score that of the metric, the first one with the
        ends of its 95 % interval in ``accuracy_low`` and ``accuracy_high``.

        Args:
            repeats: Whether to return the repeats with further seeds of training in their place;
                ``repeats`` is then the number of the trial.
        """
        found: list[Trial] = []
        while True:
            page = self._queries.trials(
                self.name, repeats=repeats, offset=len(found), limit=LONGEST_PAGE
            )
            found += page.trials
            if not page.trials or len(found) >= page.total:
                break
        criteria = self._study.criteria
        further = [metric.name for metric in criteria.further_metrics]
        costs = [name for name in criteria.costs if COSTS[name].is_optional]
        names = dimension_names(self._study.space)
        return trials_frame(found, names, self._metric, further, costs)

    def trial(self, number: int) -> TrialDetails:
        """One trial, with its training curve and the conditions of its measurements.

        Raises:
            NoSuchStudy: There is none of this number.
        """
        return self._queries.trial(self.name, number)

    def frontier(self) -> pd.DataFrame:
        """The trials that no other beats on score and cost, the cheapest first.

        ``dominated_by`` names a reference that is at least as good and no larger.
        """
        return frontier_frame(self.trials(), self._queries.frontier(self.name))

    def levels(self) -> pd.DataFrame:
        """The best score at each of five fixed costs."""
        return levels_frame(self._queries.levels(self.name), self._metric)

    def best(
        self,
        **limits: Unpack[Limits],
    ) -> Best:
        """The best model within limits, beside the references and the dense models.

        Args:
            limits: Highest value of each cost: ``max_size_mb`` (10^6 bytes on disk),
                ``max_latency_ms``, ``max_flops``, and those that the search measured besides
                (``max_token_ms``, …).

        Raises:
            NoModelWithinLimits: No model meets them; the error holds the nearest.
            UserError: A limit is no number above 0, or the search did not measure this cost.
        """
        return best_within(self._queries, self.name, limits_by_cost(limits))

    def predict(self, **values: Any) -> Prediction:
        """The predicted score of a configuration, without training it.

        The prediction comes from the surrogate of the frontier sampler, fitted to the trials.

        Args:
            values: A value of the space for each dimension that has several.

        Raises:
            PredictionError: A dimension is missing or unknown, or has no such value; or no trial is
                complete.
        """
        return self._queries.what_if(self.name, values)

    @restored()
    def export(
        self,
        to: str | os.PathLike[str],
        *,
        trial: int | None = None,
        onnx: bool = False,
        examples: bool = False,
        **limits: Unpack[Limits],
    ) -> ExportedModel:
        """Export a model into a new folder that needs no tlc: that of a trial, or the best.

        Args:
            to: Folder to create.
            trial: Number of the trial; by default the best within the limits.
            onnx: Whether to write ``model.onnx`` too, and verify it.
            examples: Whether to write ``evaluation.jsonl``, the validation examples.
            limits: As of ``best``.

        Raises:
            NoModelWithinLimits: No model meets the limits.
            UserError: There is no such trial, the folder is taken, or the model is gone.
        """
        from search.registry.export import complete_trial, export

        given = limits_by_cost(limits)
        if trial is None:
            record = self._best_record(given)
        elif given:
            raise UserError("give either a trial or limits, not both")
        else:
            record = complete_trial(self._study, trial)
        return export(self._study, record, Path(to), with_onnx=onnx, with_examples=examples)

    @restored()
    def register(
        self,
        model: str,
        *,
        onnx: bool = False,
        **limits: Unpack[Limits],
    ) -> Registration:
        """Register the best model, and the best at each fixed cost, in MLflow's Model Registry.

        Args:
            model: Name in the registry; its alias ``champion`` points to the best model.
            onnx: Whether the models run in ONNX Runtime.
            limits: Those of the champion, as of ``best``.

        Raises:
            NoModelWithinLimits: No model meets the limits.
            UserError: The name is not allowed, a model is gone, or MLflow is away or refuses.
        """
        from search.registry.registry import register

        record = self._best_record(limits_by_cost(limits))
        return register(self._study, record, model, with_onnx=onnx)

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
        from search.analysis.report.report import write_report

        return write_report(self._study, None if to is None else Path(to)).path

    @restored()
    def claims(self, *others: Results) -> ClaimsReport:
        """Test the claims of Train Large, Then Compress on the trials, and write the report.

        A claim needs three seeds of training for a decision: ``confirm`` trains further ones.

        Args:
            others: Searches that differ only in their seed, which are pooled with this one.
        """
        from search.analysis.claims.report import write_claims

        return write_claims([self._study, *(other._study for other in others)])

    def confirm(
        self,
        *,
        seeds: int = 3,
        progress: bool | None = None,
        **limits: Unpack[Limits],
    ) -> Results:
        """Train the frontier again with further seeds, which had no part in the selection.

        Args:
            seeds: Seeds that each model has in the end, its own included.
            progress: As of ``run``.
            limits: With limits, as of ``best``, only the best model within them.

        Returns:
            These results: ``frontier`` then has the scores of the further seeds.

        Raises:
            NoModelWithinLimits: No model meets the limits.
            BusyStudy: The search is running.
            KeyboardInterrupt: Ctrl-C; the same call continues.
        """
        from search.api.running import confirm

        given = limits_by_cost(limits)
        trial_within(self._queries, self.name, given)
        confirm(self._study, self.url, seeds=seeds, limits=given, progress=progress)
        return self

    def stop(self) -> None:
        """Ask the search, which runs in another thread or process, to stop; finished trials are
        kept.

        Raises:
            BusyStudy: It is not running.
        """
        request_stop(self._study)

    def rename(self, name: str) -> None:
        """Rename the search, with its experiment in MLflow and its reports; its file needs the new
        name too.

        Raises:
            StudyError: The name is taken, or the search is running.
            UserError: The name is not allowed, or MLflow is away.
        """
        from search.maintenance.renaming import rename

        rename(self._study, name, self.url)
        self.name, self._study = name, Study.load(name, self.url)

    def delete(self) -> Deletion:
        """Delete the search: its trials, its runs in MLflow, and what only it has in the store.

        Raises:
            BusyStudy: It is running.
            UserError: MLflow is away; nothing was deleted.
        """
        from search.maintenance.deletion import delete

        return delete(self._study, self.url)

    def __repr__(self) -> str:
        return summary_text(self._queries.search(self.name))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return summary_html(self._queries.search(self.name), self.frontier())

    def __dir__(self) -> Sequence[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    @property
    def _metric(self) -> str:
        return self._study.search.metric.name

    def _best_record(self, limits: dict[str, float]) -> TrialRecord:
        return self._study.record(trial_within(self._queries, self.name, limits).trial)
