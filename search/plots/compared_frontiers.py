"""The frontiers of several searches in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.pareto import feasible, leaders
from search.plots.style import (
    DENSE,
    FRONTIER,
    REFERENCE,
    SECOND,
    THIRD,
    TRIAL,
    empty_figure,
    log_axis,
    score_axis,
)
from search.plots.trial_points import error_bars, frontier_steps, metric_name, trial_text
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria

HEIGHT = 480
COLOURS = (FRONTIER, DENSE, SECOND, THIRD, REFERENCE, TRIAL)
SYMBOLS = ("circle", "square", "diamond", "cross")
"""With the colours, they tell 24 searches apart."""


def compared_figure(searches: Sequence[tuple[str, Criteria, list[TrialRecord]]]) -> Any:
    """Score against the first cost: the frontier of each search, with 95 % intervals.

    Args:
        searches: Name, criteria and trials of each; metric and first cost are the same.
    """
    _, criteria, _ = searches[0]
    drawn = [(name, own, feasible(records, own)) for name, own, records in searches]
    trials = [record for _, _, records in drawn for record in records]
    figure = empty_figure(
        height=HEIGHT,
        x={
            "title": criteria.cost.axis,
            **log_axis([r.result[criteria.cost.name] for r in trials]),
        },
        y={
            "title": f"{metric_name(criteria)} on validation",
            **score_axis(criteria.metric, [r.result["score"] for r in trials]),
        },
        has_legend=True,
    )
    for number, (name, own, records) in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        x, y = frontier_steps(records, own)
        members = leaders(records, own)
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"shape": "hv", "color": colour}, showlegend=False,
            hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=[r.result[own.cost.name] for r in members],
            y=[r.result["score"] for r in members],
            mode="markers",
            name=name,
            marker={
                "size": 9,
                "color": colour,
                "symbol": SYMBOLS[number // len(COLOURS) % len(SYMBOLS)],
            },
            error_y={
                "array": error_bars(members, "score_high"),
                "arrayminus": error_bars(members, "score_low"),
                "thickness": 1,
            },
            hovertext=[f"{name}<br>{trial_text(r, own)}" for r in members],
            hoverinfo="text",
        )
    return figure
