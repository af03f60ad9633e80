"""The frontier as an interactive figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from search.mlflow_links import MlflowLinks
from search.pareto import dominated, leaders
from search.plots.pages import Chart
from search.plots.reference_points import (
    REFERENCES_NAME,
    ReferencePoints,
    reference_text,
)
from search.plots.style import FRONTIER, LIMIT, REFERENCE, empty_figure, log_axis, score_axis
from search.plots.trial_points import (
    Group,
    drawable,
    error_bars,
    frontier_steps,
    grouped_points,
    leading_points,
    metric_name,
)
from search.seeds import Repeats
from search.storage.references import ReferenceRecord
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria

HEIGHT = 480
MOST_LABELS = 6
LABEL_HEIGHT, LABEL_WIDTH = 0.06, 0.25
"""Fractions of the axes that a label takes."""


def frontier_charts(
    records: list[TrialRecord],
    criteria: Criteria,
    links: MlflowLinks | None = None,
    references: Sequence[ReferenceRecord] = (),
    repeats: Repeats | None = None,
) -> list[Chart]:
    """The score against each cost; the arguments are those of ``frontier_figure``."""
    charts = []
    for cost in criteria.axes:
        against = criteria.against(cost)
        what = f"{metric_name(criteria)} against {cost.noun}"
        label = (
            f"{what} of {len(drawable(records, against))} trials; the "
            f"{len(leaders(records, criteria))} on the frontier can be focused"
        )
        figure = frontier_figure(records, against, links, references, repeats)
        charts.append(Chart(figure, label, title=what if criteria.further_costs else ""))
    return charts


def frontier_figure(
    records: list[TrialRecord],
    criteria: Criteria,
    links: MlflowLinks | None = None,
    references: Sequence[ReferenceRecord] = (),
    repeats: Repeats | None = None,
) -> Any:
    """Score against cost: each complete trial, each model before compression, the frontier, and
    the references. Members of the frontier that a reference dominates are open circles.

    Repeats with further seeds are no points; their scores are in the texts of the frontier.

    ``customdata`` of a point is the number of its trial, the number of its trained model, and the
    page of its run where links are given.
    """
    complete = drawable(records, criteria)
    groups = grouped_points(complete, criteria)
    leading = leading_points(complete, criteria, repeats)
    members = leading.records
    models = dict.fromkeys(record.result["checkpoint"] for record in complete)
    number = {checkpoint: k for k, checkpoint in enumerate(models)}

    def identify(record: TrialRecord) -> list[Any]:
        page = "" if links is None else links.trial(record.number)
        return [record.number, number[record.result["checkpoint"]], page]

    every = [*groups, leading]
    costs = [cost for group in every for cost in group.costs]
    drawn = ReferencePoints.of(references, criteria, costs)
    costs += [reference.size_mb for reference in drawn.points]
    scores = [score for group in every for score in group.scores]
    scores += [reference.result["score"] for reference in references]
    scores += [r.result[end] for r in members for end in ("score_low", "score_high")]
    figure = empty_figure(
        height=HEIGHT,
        x={"title": criteria.cost.axis, **log_axis(costs)},
        y={
            "title": f"{metric_name(criteria)} on validation",
            **score_axis(criteria.metric, scores),
        },
        has_legend=True,
    )
    x, y = frontier_steps(complete, criteria)
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"shape": "hv", "color": FRONTIER}, showlegend=False,
        hoverinfo="skip",
    )  # fmt: skip
    for group in groups:
        marker = {"color": group.colour, "size": 8, "opacity": 0.75}
        figure.add_scatter(**_points(group, identify), marker=marker)
    _add_references(figure, drawn, criteria, costs)
    better = dominated(members, references, criteria)
    for k, record in enumerate(members):
        if record.number in better:
            name = better[record.number].name
            leading.hover[k] += f"<br>{name} is at least as good, and no larger"
    figure.add_scatter(
        **_points(leading, identify),
        error_y={
            "array": error_bars(members, "score_high"),
            "arrayminus": error_bars(members, "score_low"),
            "thickness": 1,
        },
        marker={
            "size": 10,
            "color": FRONTIER,
            "symbol": ["circle-open" if r.number in better else "circle" for r in members],
        },
        text=_labels(members, criteria, costs),
        textposition="top left",
        cliponaxis=False,
        meta={"is_focusable": True},
    )
    figure.update_traces(mode="markers+text", selector={"name": leading.name})
    if limit := criteria.limit:
        figure.add_vline(x=limit, line_dash="dash", line_color=LIMIT, line_width=1)
        # On a logarithmic axis Plotly wants the exponent here, and only here.
        figure.add_annotation(
            x=math.log10(limit), y=0, yref="paper", text=f"limit {criteria.cost.text(limit)}",
            showarrow=False, xanchor="right", yanchor="bottom",
        )  # fmt: skip
    return figure


def _add_references(
    figure: Any, drawn: ReferencePoints, criteria: Criteria, costs: list[float]
) -> None:
    scores = [r.result["score"] for r in drawn.points]
    if drawn.points:
        results = [r.result for r in drawn.points]
        figure.add_scatter(
            x=[r.size_mb for r in drawn.points],
            y=scores,
            mode="markers+text",
            name=REFERENCES_NAME,
            marker={"symbol": "diamond", "size": 10, "color": REFERENCE},
            error_y={
                "array": [abs(r["score_high"] - r["score"]) for r in results],
                "arrayminus": [abs(r["score_low"] - r["score"]) for r in results],
                "thickness": 1,
            },
            text=[f"{r.name}  " for r in drawn.points],
            textposition="bottom right",
            hovertext=[reference_text(r, criteria) for r in drawn.points],
            hoverinfo="text",
        )
    for k, reference in enumerate(drawn.lines if costs else ()):
        figure.add_scatter(
            x=[min(costs), max(costs)],
            y=[reference.result["score"]] * 2,
            mode="lines+text",
            name=REFERENCES_NAME,
            showlegend=k == 0 and not drawn.points,
            line={"color": REFERENCE, "width": 1, "dash": "dot"},
            text=["", reference.name],
            textposition="top left",
            hovertext=[reference_text(reference, criteria)] * 2,
            hoverinfo="text",
        )


def _points(group: Group, identify: Callable[[TrialRecord], list[Any]]) -> dict[str, Any]:
    return {
        "x": group.costs,
        "y": group.scores,
        "mode": "markers",
        "name": group.name,
        "hovertext": group.hover,
        "hoverinfo": "text",
        "customdata": [identify(record) for record in group.records],
    }


def _labels(members: list[TrialRecord], criteria: Criteria, costs: list[float]) -> list[str]:
    """Names of some members, the most expensive first, whose labels do not touch one another."""
    shares = [criteria.metric.quality(r.result["score"]) for r in members]
    apart = LABEL_HEIGHT * (max(shares) - min(shares)) if shares else 0.0
    leftmost = min(costs) * (max(costs) / min(costs)) ** LABEL_WIDTH if costs else 0.0
    labelled: dict[int, float] = {}
    for k in reversed(range(len(members))):
        if (
            len(labelled) < MOST_LABELS
            and members[k].result[criteria.cost.name] >= leftmost
            and all(abs(shares[k] - share) >= apart for share in labelled.values())
        ):
            labelled[k] = shares[k]
    return [
        f"{r.configuration.architecture} {r.configuration.compression}  " if k in labelled else ""
        for k, r in enumerate(members)
    ]
