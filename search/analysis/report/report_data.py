"""What a report is made of: the trials of a search, read once, and the sections made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any

from search.hypervolume import Scale
from search.pareto import best, dominating_reference, feasible, leaders
from search.plots.pages import Chart, Table
from search.plots.trial_points import drawable, metric_name
from search.seeds import Repeats, SeedScores
from search.storage.references import ReferenceRecord
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Metric
from spaces.grid.search_space import SearchSpace


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: Its identifier.
        intro: A sentence or two under the heading.
        caption: What is said below the charts.
        notes: Paragraphs at the end.
    """

    name: str
    title: str
    intro: str = ""
    charts: Sequence[Chart] = ()
    caption: str = ""
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ReportData:
    """A search as every section sees it.

    Args:
        records: All trials, by number.
        repeats: Their repeats with further seeds of training.
        tests: Scores on the test split, by trial number.
        data: Facts of the data.
        references: Baselines of the task, the smallest first.
    """

    space: SearchSpace
    records: list[TrialRecord]
    tests: dict[int, dict[str, Any]]
    data: dict[str, Any]
    references: Sequence[ReferenceRecord] = ()
    repeats: Repeats = field(default_factory=lambda: Repeats(()))

    @classmethod
    def of(cls, study: Study) -> ReportData:
        """Read a study."""
        records, repeats = study.records_and_repeats()
        return cls(
            study.space,
            records,
            study.tests(),
            study.data,
            study.references(),
            Repeats(repeats),
        )

    @property
    def criteria(self) -> Criteria:
        """What the trials are compared by."""
        return self.space.criteria

    @property
    def metric(self) -> Metric:
        """What models are scored by."""
        return self.criteria.metric

    @property
    def cost(self) -> Cost:
        """The inference cost that the score is weighed against."""
        return self.criteria.cost

    @property
    def score_name(self) -> str:
        """The metric as people write it."""
        return metric_name(self.criteria)

    @cached_property
    def scale(self) -> Scale:
        """The box of the hypervolume."""
        return Scale.of(self.space)

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """Trials with a result that can be drawn on a logarithmic axis."""
        return drawable(self.records, self.criteria)

    @cached_property
    def allowed(self) -> set[int]:
        """Numbers of the trials within the constraints."""
        return {record.number for record in feasible(self.complete, self.criteria)}

    @cached_property
    def members(self) -> list[TrialRecord]:
        """The frontier, the cheapest first; the best alone where the cost is fixed."""
        return leaders(self.records, self.criteria)

    @cached_property
    def best(self) -> TrialRecord | None:
        """The feasible trial with the best score."""
        return best(self.records, self.criteria, {})

    @cached_property
    def dominating(self) -> ReferenceRecord | None:
        """The best reference within the limit of bytes, if no model has a better score."""
        limit = self.criteria.limits.get("size_mb", inf)
        score = None if self.best is None else self.best.result["score"]
        return dominating_reference(self.references, self.criteria, score, limit)

    def seeds(self, record: TrialRecord) -> SeedScores | None:
        """Scores of a trial over several seeds of training."""
        return SeedScores.of(record, self.repeats, self.tests, self.metric)

    def score_text(self, record: TrialRecord) -> str:
        """The score of a trial, with the metric's name."""
        return f"{self.score_name} {self.metric.text(record.result['score'])}"

    def cost_text(self, record: TrialRecord) -> str:
        """The cost of a trial, with its unit."""
        return self.cost.text(record.result[self.cost.name])

    def interval(self, result: Mapping[str, Any]) -> str:
        """The 95 % interval of a score."""
        return f"{self.metric.text(result['score_low'])}–{self.metric.text(result['score_high'])}"


def percentage(fraction: float) -> str:
    """A fraction as people read it; the space is narrow and does not break."""
    return f"{100 * fraction:.0f}\u202f%"
