"""Trials as the points of a figure: what each is called, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.formatting import (
    checkpoint_text,
    cost_summary,
    depth_text,
    proportions_text,
    settings_text,
)
from search.pareto import feasible, frontier, leaders
from search.plots.style import DENSE, FRONTIER, INFEASIBLE, TRIAL
from search.seeds import Repeats, SeedScores, spread_text
from search.storage.trials import TrialRecord
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import Criteria
from spaces.cost.metric import OF_WRITTEN_TEXTS
from spaces.cost.units import quantity

FRONTIER_NAME, BEST_NAME = "frontier, with 95 % intervals", "the best, with its 95 % interval"
LARGE = 1e6
"""From here on counts are written with SI prefixes."""


@dataclass(frozen=True)
class Group:
    """Points of one kind.

    Args:
        name: In the legend.
        records: The trial of each point.
        costs: Inference cost of each, in the unit of the axis.
        scores: Score of each on validation.
        hover: Text of each, in Plotly's subset of HTML.
    """

    name: str
    colour: str
    records: list[TrialRecord]
    costs: list[float]
    scores: list[float]
    hover: list[str]


def drawable(records: list[TrialRecord], criteria: Criteria) -> list[TrialRecord]:
    """Complete trials that have a place on a logarithmic cost axis."""
    return [r for r in records if r.is_complete and r.result[criteria.cost.name] > 0]


def grouped_points(records: list[TrialRecord], criteria: Criteria) -> list[Group]:
    """All complete trials beside the leaders by kind, without the kinds that have none."""
    complete = drawable(records, criteria)
    allowed = {r.number for r in feasible(complete, criteria)}
    leading = {r.number for r in leaders(complete, criteria)}
    others = [r for r in complete if r.number in allowed - leading]
    broken = [r for r in complete if r.number not in allowed]
    groups = [
        _before_compression(complete, criteria),
        _trial_group("other trials", TRIAL, others, criteria),
        _trial_group("breaks a constraint", INFEASIBLE, broken, criteria),
    ]
    return [group for group in groups if group.costs]


def leading_points(
    records: list[TrialRecord], criteria: Criteria, repeats: Repeats | None = None
) -> Group:
    """The leaders; their text has the scores of their repeats with further seeds."""
    name = BEST_NAME if criteria.is_at_fixed_cost else FRONTIER_NAME
    group = _trial_group(name, FRONTIER, leaders(records, criteria), criteria)
    if repeats is None:
        return group
    return replace(
        group,
        hover=[
            hover + _further_seeds(record, repeats, criteria)
            for hover, record in zip(group.hover, group.records, strict=True)
        ],
    )


def _further_seeds(record: TrialRecord, repeats: Repeats, criteria: Criteria) -> str:
    scores = SeedScores.of(record, repeats, {}, criteria.metric)
    if scores is None or scores.further is None:
        return "<br>1 seed of training"
    return f"<br>further seeds {spread_text(scores.further, criteria.metric.name)}"


def error_bars(records: list[TrialRecord], end: str) -> list[float]:
    """Lengths of the 95 % intervals of scores to one end: ``score_low`` or ``score_high``."""
    return [abs(r.result[end] - r.result["score"]) for r in records]


def _trial_group(name: str, colour: str, records: list[TrialRecord], criteria: Criteria) -> Group:
    """Points of some trials after compression."""
    return Group(
        name=name,
        colour=colour,
        records=records,
        costs=[r.result[criteria.cost.name] for r in records],
        scores=[r.result["score"] for r in records],
        hover=[trial_text(r, criteria) for r in records],
    )


def _before_compression(records: list[TrialRecord], criteria: Criteria) -> Group:
    """Each trained model before compression, in fp32.

    Only where size is the cost: the latency of the dense model is not measured.
    """
    has_cost = criteria.cost.name == "size_mb"
    models = list({r.result["checkpoint"]: r for r in records if has_cost}.values())
    metric = criteria.metric
    return Group(
        name="the same models before compression",
        colour=DENSE,
        records=models,
        costs=[r.result["dense_size_bytes"] / 1e6 for r in models],
        scores=[r.result["dense_score"] for r in models],
        hover=[
            f"{r.configuration.architecture} budget {amount(r.configuration.budget)}, "
            f"{settings_text(r.configuration)}dense fp32"
            f"<br>{metric_name(criteria)} {metric.text(r.result['dense_score'])}<br>"
            f"{r.result['dense_size_bytes'] / 1e6:.3f} MB"
            for r in models
        ],
    )


def frontier_steps(
    records: list[TrialRecord], criteria: Criteria
) -> tuple[list[float], list[float]]:
    """Corners of the frontier's steps, of the first score and the first cost alone.

    The last step ends at the limit, or at the most expensive trial: a larger cost still buys at
    least the best score.
    """
    members = frontier(records, criteria.first_pair)
    if not members or criteria.is_at_fixed_cost:
        return [], []
    costs = [r.result[criteria.cost.name] for r in members]
    scores = [r.result["score"] for r in members]
    end = criteria.limit or max(r.result[criteria.cost.name] for r in feasible(records, criteria))
    return [*costs, end], [*scores, scores[-1]]


def trial_text(record: TrialRecord, criteria: Criteria) -> str:
    """A trial's configuration, score, interval and costs, in Plotly's subset of HTML."""
    result, metric = record.result, criteria.metric
    interval = f"{metric.text(result['score_low'])}–{metric.text(result['score_high'])}"
    architecture = record.configuration.architecture
    costs = cost_summary(result, *(cost.name for cost in criteria.axes))
    return (
        f"<b>#{record.number}</b> {checkpoint_text(architecture.checkpoint)}"
        f"depth {depth_text(architecture.depth, architecture.decoder_depth)}, "
        f"width {architecture.width}, {proportions_text(architecture)}"
        f"budget {amount(record.configuration.budget)}, "
        f"{settings_text(record.configuration)}{record.configuration.compression}<br>"
        f"{metric_name(criteria)} {metric.text(result['score'])} ({interval})<br>"
        f"{costs}  {result['compression_ratio']:.1f}×"
    )


def metric_name(criteria: Criteria) -> str:
    """The metric as people write it."""
    return OF_WRITTEN_TEXTS.get(criteria.metric.name, criteria.metric.name)


def short_text(configuration: Configuration) -> str:
    """A configuration in a line: ``2x64 budget 3,000 rtn-4``."""
    budget = amount(configuration.budget)
    settings = settings_text(configuration, " ")
    return f"{configuration.architecture} budget {budget} {settings}{configuration.compression}"


def amount(value: float) -> str:
    """A count in digits, or with its SI prefix where it is very large: ``3,000``, ``1.2 P``."""
    return f"{value:,g}" if value < LARGE else quantity(value).strip().replace(" ", "\u00a0")
