"""What every picture of a frontier shows: its points, its steps, and what a tick says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.formatting import configuration_text, cost_summary
from search.pareto import feasible, frontier
from search.storage.trials import TrialRecord
from spaces.cost.units import quantity
from spaces.file.search_file import SearchFile

DENSE, COMPRESSED, BROKEN, LINE, LIMIT = "#d1495b", "#7a8b99", "#d8d8d8", "#00798c", "#555555"


@dataclass(frozen=True)
class Group:
    """Points of one kind.

    Args:
        name: What they are, for the legend.
        colour: Of all of them.
        numbers: The trial of each.
        costs: Inference cost of each, in the unit of the axis.
        scores: Score of each on validation.
        hover: What is said of each, as Plotly's subset of HTML.
    """

    name: str
    colour: str
    numbers: list[int]
    costs: list[float]
    scores: list[float]
    hover: list[str]


def grouped_points(records: list[TrialRecord], search: SearchFile) -> list[Group]:
    """All complete trials by kind, without the kinds that have none."""
    complete = [r for r in records if r.is_complete and r.result[search.cost.name] > 0]
    allowed = {r.number for r in feasible(complete, search.criteria)}
    kinds = [
        _before_compression(complete, search),
        _trials("trials", COMPRESSED, [r for r in complete if r.number in allowed], search),
        _trials(
            "breaks a constraint", BROKEN, [r for r in complete if r.number not in allowed], search
        ),
    ]
    return [group for group in kinds if group.costs]


def _trials(name: str, colour: str, records: list[TrialRecord], search: SearchFile) -> Group:
    return Group(
        name=name,
        colour=colour,
        numbers=[r.number for r in records],
        costs=[r.result[search.cost.name] for r in records],
        scores=[r.result["score"] for r in records],
        hover=[hover_text(r, search) for r in records],
    )


def _before_compression(records: list[TrialRecord], search: SearchFile) -> Group:
    """Each trained model as it was, dense fp32: what the compressed ones have to beat.

    Only where size is the cost: the latency of the dense model is not measured.
    """
    trained = {r.result["checkpoint"]: r for r in records} if search.cost.name == "size_mb" else {}
    models = list(trained.values())
    return Group(
        name="the same models before compression",
        colour=DENSE,
        numbers=[r.number for r in models],
        costs=[r.result["dense_size_bytes"] / 1e6 for r in models],
        scores=[r.result["dense_score"] for r in models],
        hover=[
            f"{r.configuration.architecture} budget {r.configuration.budget:.3g}, dense fp32<br>"
            f"{search.metric.name} {search.metric.text(r.result['dense_score'])}, "
            f"{r.result['dense_size_bytes'] / 1e6:.3f} MB"
            for r in models
        ],
    )


def hover_text(record: TrialRecord, search: SearchFile) -> str:
    """What a point says of its trial: its configuration, score, interval and costs."""
    result = record.result
    metric = search.metric
    configuration = configuration_text(record.configuration, search.space.budget.unit)
    interval = f"{metric.text(result['score_low'])} to {metric.text(result['score_high'])}"
    return (
        f"<b>#{record.number}</b> {configuration}<br>"
        f"{metric.name} {metric.text(result['score'])} ({interval})<br>"
        f"{cost_summary(result, search.cost.name)}"
    )


def frontier_steps(
    records: list[TrialRecord], search: SearchFile
) -> tuple[list[float], list[float]]:
    """Corners of the frontier's steps.

    The last step goes on to the limit, or to the dearest trial: who may spend more has at least
    the best.
    """
    members = frontier(records, search.criteria)
    if not members:
        return [], []
    costs = [r.result[search.cost.name] for r in members]
    scores = [r.result["score"] for r in members]
    dearest = max(r.result[search.cost.name] for r in feasible(records, search.criteria))
    end = search.criteria.limit or dearest
    return [*costs, end], [*scores, scores[-1]]


def log_ticks(values: list[float]) -> list[float]:
    """1, 2 and 5 times each power of ten in the range, and one beyond each end."""
    if not values:
        return []
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    return [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]


def tick_text(value: float) -> str:
    """A number at an axis, such as ``0.2`` or ``500 k``."""
    return quantity(value).strip()
