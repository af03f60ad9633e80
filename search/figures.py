"""The frontier as a picture: interactive HTML for the browser, PNG for everything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from search.frontier import Scale, feasible, frontier, hypervolume_history
from search.records import Record, limits
from search.study import Study
from search.tables import short_cost
from spaces.compression import Quantisation
from spaces.search_file import SearchFile

AXIS = {
    "size_mb": "size on disk (MB)",
    "latency_ms": "median latency (ms)",
    "flops": "forward FLOPs for one sequence",
}
DENSE, COMPRESSED, LINE, LIMIT = "#d1495b", "#7a8b99", "#00798c", "#555555"


def write_figures(study: Study, folder: Path) -> None:
    """Write ``frontier.html`` and ``frontier.png`` of a search into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    records = study.records()
    (folder / "frontier.html").write_text(frontier_html(records, study.search))
    frontier_png(records, study.search, Scale.of(study.space), folder / "frontier.png")


def frontier_html(records: list[Record], search: SearchFile) -> str:
    """The frontier as a page that needs no network.

    Every complete trial is a point with its configuration on hover; the frontier is a line with
    the 95 % interval of each accuracy; constraints are dashed.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, group, colour in _groups(records, search):
        figure.add_scatter(
            x=[r.result[search.cost] for r in group],
            y=[r.result["accuracy"] for r in group],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 8, "opacity": 0.75},
            hovertext=[_hover(r, search) for r in group],
            hoverinfo="text",
        )
    members = frontier(records, search)
    figure.add_scatter(
        x=[r.result[search.cost] for r in members],
        y=[r.result["accuracy"] for r in members],
        error_y={
            "array": [r.result["accuracy_high"] - r.result["accuracy"] for r in members],
            "arrayminus": [r.result["accuracy"] - r.result["accuracy_low"] for r in members],
            "thickness": 1,
        },
        mode="lines+markers",
        name="frontier, with 95 % intervals",
        line={"shape": "hv", "color": LINE},
        marker={"size": 10},
        hovertext=[_hover(r, search) for r in members],
        hoverinfo="text",
    )
    limit = limits(search).get(search.cost)
    if limit is not None:
        figure.add_vline(x=limit, line_dash="dash", line_color=LIMIT, annotation_text="limit")
    figure.update_layout(
        title=f"{search.name}: validation accuracy against {AXIS[search.cost]}",
        xaxis={"title": AXIS[search.cost], "type": "log", "dtick": "D2"},
        yaxis={"title": "accuracy on validation"},
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
    )
    page: str = figure.to_html(include_plotlyjs=True, full_html=True)
    return page


def frontier_png(records: list[Record], search: SearchFile, scale: Scale, path: Path) -> None:
    """The frontier and the hypervolume over finished trials as a picture, replaced whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_frontier(left, records, search)
    history = hypervolume_history(records, search, scale)
    right.step(range(1, len(history) + 1), history, where="post", color=LINE)
    right.set_xlabel("finished trials")
    right.set_title("hypervolume", fontsize=11)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    temporary = path.with_name(f"{path.stem}.new.png")
    figure.savefig(temporary, dpi=130)
    os.replace(temporary, path)


def _draw_frontier(axes: Any, records: list[Record], search: SearchFile) -> None:
    for name, group, colour in _groups(records, search):
        axes.scatter(
            [r.result[search.cost] for r in group],
            [r.result["accuracy"] for r in group],
            s=22, alpha=0.75, color=colour, label=name, linewidths=0,
        )  # fmt: skip
    members = frontier(records, search)
    x = [r.result[search.cost] for r in members]
    y = [r.result["accuracy"] for r in members]
    below = [r.result["accuracy"] - r.result["accuracy_low"] for r in members]
    above = [r.result["accuracy_high"] - r.result["accuracy"] for r in members]
    axes.step(x, y, where="post", color=LINE, label="frontier, with 95 % intervals")
    axes.errorbar(
        x, y, yerr=(below, above), fmt="o", color=LINE, markersize=5, elinewidth=0.8, capsize=2
    )
    limit = limits(search).get(search.cost)
    if limit is not None:
        axes.axvline(limit, linestyle="--", color=LIMIT, linewidth=1)
        axes.annotate("limit", (limit, 0.02), xycoords=("data", "axes fraction"), fontsize=9)
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlabel(AXIS[search.cost])
    axes.set_title(f"{search.name}: accuracy on validation", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _plain_ticks(axis: Any) -> None:
    """Numbers such as 0.2 in place of powers of ten: the axis spans one or two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _groups(records: list[Record], search: SearchFile) -> list[tuple[str, list[Record], str]]:
    complete = [r for r in records if r.is_complete and r.result[search.cost] > 0]
    allowed = {r.number for r in feasible(complete, search)}
    groups = [
        ("uncompressed", [r for r in complete if r.number in allowed and _is_dense(r)], DENSE),
        (
            "compressed",
            [r for r in complete if r.number in allowed and not _is_dense(r)],
            COMPRESSED,
        ),
        ("breaks a constraint", [r for r in complete if r.number not in allowed], "#d8d8d8"),
    ]
    return [group for group in groups if group[1]]


def _is_dense(record: Record) -> bool:
    compression = record.configuration.compression
    return compression.quantisation is Quantisation.NONE and compression.sparsity == 0.0


def _hover(record: Record, search: SearchFile) -> str:
    result = record.result
    interval = f"{result['accuracy_low']:.3f} to {result['accuracy_high']:.3f}"
    return (
        f"<b>#{record.number}</b> {record.configuration}<br>"
        f"accuracy {result['accuracy']:.3f} ({interval})<br>{short_cost(result, search.cost)}"
    )
