"""The frontier as a picture: interactive HTML for the browser, PNG for everything else."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.frontier import Scale, feasible, frontier, hypervolume_history
from search.records import Record
from search.study import Study
from search.tables import quantity, short_cost
from spaces.search_file import SearchFile

AXIS = {
    "size_mb": "size on disk (MB)",
    "latency_ms": "median latency (ms)",
    "flops": "forward FLOPs for one sequence",
}
DENSE, COMPRESSED, BROKEN, LINE, LIMIT = "#d1495b", "#7a8b99", "#d8d8d8", "#00798c", "#555555"


def write_figures(study: Study, folder: Path) -> None:
    """Write ``frontier.html`` and ``frontier.png`` of a search into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    records = study.records()
    (folder / "frontier.html").write_text(frontier_html(records, study.search))
    frontier_png(records, study.search, Scale.of(study.space), folder / "frontier.png")


def frontier_html(records: list[Record], search: SearchFile) -> str:
    """The frontier as a page that needs no network."""
    page: str = frontier_figure(records, search).to_html(include_plotlyjs=True, full_html=True)
    return page


def frontier_figure(records: list[Record], search: SearchFile) -> Any:
    """The frontier as a Plotly figure.

    Every complete trial is a point with its configuration on hover; the frontier is a line with
    the 95 % interval of each score; constraints are dashed.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for group in _groups(records, search):
        figure.add_scatter(
            x=group.costs,
            y=group.scores,
            mode="markers",
            name=group.name,
            marker={"color": group.colour, "size": 8, "opacity": 0.75},
            hovertext=group.hover,
            hoverinfo="text",
        )
    members = frontier(records, search)
    x, y = _steps(records, search)
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"shape": "hv", "color": LINE}, showlegend=False,
        hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=[r.result[search.cost] for r in members],
        y=[r.result["score"] for r in members],
        error_y={
            "array": [r.result["score_high"] - r.result["score"] for r in members],
            "arrayminus": [r.result["score"] - r.result["score_low"] for r in members],
            "thickness": 1,
        },
        mode="markers",
        name="frontier, with 95 % intervals",
        marker={"size": 10, "color": LINE},
        hovertext=[_hover(r, search) for r in members],
        hoverinfo="text",
    )
    limit = search.constraints.limits.get(search.cost)
    if limit is not None:
        figure.add_vline(x=limit, line_dash="dash", line_color=LIMIT, line_width=1)
        # On a logarithmic axis Plotly wants the exponent here, and only here.
        figure.add_annotation(
            x=math.log10(limit), y=0, yref="paper", text="limit", showarrow=False, xanchor="left"
        )
    ticks = _ticks([cost for group in _groups(records, search) for cost in group.costs])
    figure.update_layout(
        title=f"{search.name}: validation {search.metric.name} against {AXIS[search.cost]}",
        xaxis={
            "title": AXIS[search.cost],
            "type": "log",
            "tickvals": ticks,
            "ticktext": [_tick(tick) for tick in ticks],
        },
        yaxis={
            "title": f"{search.metric.name} on validation",
            "automargin": True,
            **_score_axis(search),
        },
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
    )
    return figure


def _score_axis(search: SearchFile) -> dict[str, Any]:
    """Up is better everywhere: the axis of a metric that is minimised is turned over."""
    return {} if search.metric.is_maximised else {"type": "log", "autorange": "reversed"}


def frontier_png(records: list[Record], search: SearchFile, scale: Scale, path: Path) -> None:
    """The frontier and the hypervolume over finished trials as a picture, replaced whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_frontier(left, records, search)
    # Beneath, where it hides no point.
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    history = hypervolume_history(records, search, scale)
    right.step(range(1, len(history) + 1), history, where="post", color=LINE)
    right.set_xlabel("finished trials")
    right.set_ylabel("hypervolume (share of the box)")
    figure.suptitle(search.name, fontsize=12)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    temporary = path.with_name(f"{path.stem}.new.png")
    figure.savefig(temporary, dpi=130)
    os.replace(temporary, path)


def _draw_frontier(axes: Any, records: list[Record], search: SearchFile) -> None:
    for group in _groups(records, search):
        axes.scatter(
            group.costs, group.scores, s=22, alpha=0.75, color=group.colour,
            label=group.name, linewidths=0,
        )  # fmt: skip
    members = frontier(records, search)
    x = [r.result[search.cost] for r in members]
    y = [r.result["score"] for r in members]
    below = [r.result["score"] - r.result["score_low"] for r in members]
    above = [r.result["score_high"] - r.result["score"] for r in members]
    axes.step(*_steps(records, search), where="post", color=LINE)
    axes.errorbar(
        x, y, yerr=(below, above), fmt="o", color=LINE, markersize=5, elinewidth=0.8, capsize=2,
        label="frontier, with 95 % intervals",
    )  # fmt: skip
    limit = search.constraints.limits.get(search.cost)
    if limit is not None:
        axes.axvline(limit, linestyle="--", color=LIMIT, linewidth=1)
        axes.annotate(
            "limit", (limit, 0.02), xycoords=("data", "axes fraction"), fontsize=9,
            xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlabel(AXIS[search.cost])
    axes.set_ylabel(f"{search.metric.name} on validation")
    if not search.metric.is_maximised:
        # Up is better everywhere.
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
        axes.invert_yaxis()


def _plain_ticks(axis: Any) -> None:
    """Numbers such as 0.2 in place of powers of ten: the axis spans one or two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axis.set_minor_formatter(NullFormatter())


def _ticks(costs: list[float]) -> list[float]:
    """1, 2 and 5 times each power of ten in the range, and one beyond each end."""
    if not costs:
        return []
    decades = range(math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs))) + 1)
    return [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]


def _tick(value: float) -> str:
    return quantity(value).strip()


def _steps(records: list[Record], search: SearchFile) -> tuple[list[float], list[float]]:
    """Corners of the frontier's steps.

    The last step goes on to the limit, or to the dearest trial: who may spend more has at least
    the best.
    """
    members = frontier(records, search)
    if not members:
        return [], []
    costs = [r.result[search.cost] for r in members]
    scores = [r.result["score"] for r in members]
    dearest = max(r.result[search.cost] for r in feasible(records, search))
    end = search.constraints.limits.get(search.cost, dearest)
    return [*costs, end], [*scores, scores[-1]]


@dataclass(frozen=True)
class _Group:
    """Points of one kind."""

    name: str
    colour: str
    costs: list[float]
    scores: list[float]
    hover: list[str]


def _groups(records: list[Record], search: SearchFile) -> list[_Group]:
    complete = [r for r in records if r.is_complete and r.result[search.cost] > 0]
    allowed = {r.number for r in feasible(complete, search)}
    groups = [
        _before_compression(complete, search),
        _trials("trials", COMPRESSED, [r for r in complete if r.number in allowed], search),
        _trials(
            "breaks a constraint", BROKEN, [r for r in complete if r.number not in allowed], search
        ),
    ]
    return [group for group in groups if group.costs]


def _trials(name: str, colour: str, records: list[Record], search: SearchFile) -> _Group:
    return _Group(
        name=name,
        colour=colour,
        costs=[r.result[search.cost] for r in records],
        scores=[r.result["score"] for r in records],
        hover=[_hover(r, search) for r in records],
    )


def _before_compression(records: list[Record], search: SearchFile) -> _Group:
    """Each trained model as it was, dense fp32: what the compressed ones have to beat.

    Only where size is the cost: the latency of the dense model is not measured.
    """
    trained = {r.result["checkpoint"]: r for r in records} if search.cost == "size_mb" else {}
    models = list(trained.values())
    return _Group(
        name="the same models before compression",
        colour=DENSE,
        costs=[r.result["dense_size_bytes"] / 1e6 for r in models],
        scores=[r.result["dense_score"] for r in models],
        hover=[
            f"{r.configuration.architecture} budget {r.configuration.budget:.3g}, dense fp32<br>"
            f"{search.metric.name} {search.metric.text(r.result['dense_score'])}, "
            f"{r.result['dense_size_bytes'] / 1e6:.3f} MB"
            for r in models
        ],
    )


def _hover(record: Record, search: SearchFile) -> str:
    result = record.result
    metric = search.metric
    interval = f"{metric.text(result['score_low'])} to {metric.text(result['score_high'])}"
    return (
        f"<b>#{record.number}</b> {record.configuration}<br>"
        f"{metric.name} {metric.text(result['score'])} ({interval})<br>"
        f"{short_cost(result, search.cost)}"
    )
