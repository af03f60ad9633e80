"""A search as its report sees it: read once, so that every section tells of the same moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search.formatting import cost_summary
from search.pareto import Scale, best, feasible, frontier, quality
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.configuration import Configuration
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Metric
from spaces.cost.units import quantity
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

LARGE = 1e6
"""From here on counts are written with SI prefixes."""
WORST = 0.05
"""Share of the way from guessing to perfection that is drawn below guessing."""


@dataclass(frozen=True)
class ReportData:
    """What the sections draw.

    Args:
        space: The search space.
        records: All trials, by number.
        tests: What the test split gave, by trial number.
        data: Facts of the data.
    """

    space: SearchSpace
    records: list[TrialRecord]
    tests: dict[int, dict[str, Any]]
    data: dict[str, Any]

    @classmethod
    def of(cls, study: Study) -> ReportData:
        """Read a study."""
        return cls(study.space, study.records(), study.tests(), study.data)

    @property
    def search(self) -> SearchFile:
        """The search file."""
        return self.space.search

    @property
    def metric(self) -> Metric:
        """What models are scored by."""
        return self.search.metric

    @property
    def cost(self) -> Cost:
        """The inference cost that the score is weighed against."""
        return self.search.cost

    @cached_property
    def scale(self) -> Scale:
        """The box of the hypervolume."""
        return Scale.of(self.space)

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """Trials with a result that can be drawn on a logarithmic axis."""
        return [r for r in self.records if r.is_complete and r.result[self.cost.name] > 0]

    @cached_property
    def allowed(self) -> set[int]:
        """Numbers of the trials within the constraints."""
        return {record.number for record in feasible(self.complete, self.search.criteria)}

    @cached_property
    def members(self) -> list[TrialRecord]:
        """The frontier, the cheapest first; the best alone where the cost is fixed."""
        if self.search.is_at_fixed_cost:
            return [] if self.best is None else [self.best]
        return frontier(self.records, self.search.criteria)

    @cached_property
    def best(self) -> TrialRecord | None:
        """The feasible trial with the best score."""
        return best(self.records, self.search.criteria, {})

    @cached_property
    def models(self) -> dict[str, int]:
        """A number for each trained model: what hangs together on the page."""
        found = dict.fromkeys(record.result["checkpoint"] for record in self.complete)
        return {checkpoint: number for number, checkpoint in enumerate(found)}

    def model(self, record: TrialRecord) -> int:
        """Number of the trained model that a trial compressed."""
        return self.models[record.result["checkpoint"]]

    def quality(self, record: TrialRecord) -> float:
        """Share that the metric makes of a trial's score: up is better, whatever the metric."""
        return quality(record, self.search.criteria)

    def shown(self, score: float) -> float:
        """Quality share at which a score is drawn: far below guessing it would hide the others."""
        return max(
            self.metric.quality(score),
            self.metric.guessing_quality - WORST * (1.0 - self.metric.guessing_quality),
        )

    @property
    def score_name(self) -> str:
        """The metric as people write it."""
        return {"bleu": "BLEU"}.get(self.metric.name, self.metric.name)

    def name(self, record: TrialRecord) -> str:
        """A trial in words."""
        return f"#{record.number} {configured(record.configuration)}"

    def interval(self, result: dict[str, Any]) -> str:
        """The 95 % interval of a score."""
        return f"{self.metric.text(result['score_low'])}–{self.metric.text(result['score_high'])}"

    def hover(self, record: TrialRecord) -> str:
        """All that a point says, a line for each kind."""
        result = record.result
        return (
            f"{self.name(record)}\n"
            f"{self.score_name} {self.metric.text(result['score'])} ({self.interval(result)})\n"
            f"{cost_summary(result, self.cost.name)}  {result['compression_ratio']:.1f}×"
        )


def configured(configuration: Configuration) -> str:
    """A configuration in words, its budget in figures that people read."""
    compression = configuration.compression
    return f"{configuration.architecture} budget {amount(configuration.budget)} {compression}"


def amount(value: float) -> str:
    """A count in figures, or with its SI prefix where it is very large: ``3,000``, ``1.2 P``."""
    return f"{value:,g}" if value < LARGE else quantity(value).strip().replace(" ", "\u00a0")


def value_of(configuration: Configuration, name: str) -> Any:
    """Value of a dimension in a configuration."""
    if name == "budget":
        return configuration.budget
    if name in COMPRESSION_FIELDS:
        return getattr(configuration.compression, name)
    return getattr(configuration.architecture, name)
