"""The figures of a search: interactive HTML for the browser, PNG for everything else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from search.mlflow_links import MlflowLinks
from search.pareto import Scale, frontier
from search.plots.parallel_coordinates import parallel_html
from search.plots.pareto_png import frontier_png
from search.plots.pareto_points import (
    LIMIT,
    LINE,
    frontier_steps,
    grouped_points,
    hover_text,
    log_ticks,
    tick_text,
)
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.file.search_file import SearchFile

OPEN_RUN = """
const plot = document.getElementById("{plot_id}");
const note = document.createElement("div");
note.style.cssText = "position:fixed;left:0;right:0;bottom:0;padding:8px 12px;background:#fff;"
  + "border-top:1px solid #ccc;font:13px sans-serif;overflow-wrap:anywhere";
note.hidden = true;
document.body.append(note);
plot.on("plotly_click", (event) => {
  const route = event.points[0].customdata;
  if (!route) return;
  // MLflow shows artefacts as blobs of its own server, whatever its address is for this browser.
  const server = location.protocol === "blob:" ? new URL(location.href.slice(5)).origin : SERVER;
  const address = server + "/" + route;
  if (window.open(address, "_blank")) return;
  // Its frame lets no page open another.
  note.replaceChildren("Run of this trial, to copy into the address bar: ");
  const text = document.createElement("code");
  text.textContent = address;
  text.style.userSelect = "all";
  note.append(text);
  note.hidden = false;
});
"""
"""Opens the run of the point that was clicked."""


def write_figures(
    study: Study, folder: Path, links: MlflowLinks | None = None, server: str = ""
) -> None:
    """Write the figures of a search into a folder: the frontier, and its parallel coordinates.

    Args:
        study: The record.
        folder: Where to.
        links: Pages of the trials in MLflow, which a click on a point opens.
        server: The MLflow server, for a page that is opened as a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records, search = study.records(), study.search
    (folder / "frontier.html").write_text(frontier_html(records, search, links, server))
    (folder / "parallel_coordinates.html").write_text(parallel_html(records, search))
    frontier_png(records, search, Scale.of(study.space), folder / "frontier.png")


def frontier_html(
    records: list[TrialRecord],
    search: SearchFile,
    links: MlflowLinks | None = None,
    server: str = "",
) -> str:
    """The frontier as a page that needs no network."""
    script = None if links is None else OPEN_RUN.replace("SERVER", json.dumps(server))
    page: str = frontier_figure(records, search, links).to_html(
        include_plotlyjs=True, full_html=True, post_script=script
    )
    return page


def frontier_figure(
    records: list[TrialRecord], search: SearchFile, links: MlflowLinks | None = None
) -> Any:
    """The frontier as a Plotly figure.

    Every complete trial is a point with its configuration on hover, and the page of its run as
    ``customdata``; the frontier is a line with the 95 % interval of each score; constraints are
    dashed.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    groups = grouped_points(records, search)
    for group in groups:
        figure.add_scatter(
            x=group.costs,
            y=group.scores,
            mode="markers",
            name=group.name,
            marker={"color": group.colour, "size": 8, "opacity": 0.75},
            hovertext=group.hover,
            hoverinfo="text",
            customdata=_pages(group.numbers, links),
        )
    _add_frontier(figure, records, search, links)
    limit = search.criteria.limit
    if limit is not None:
        figure.add_vline(x=limit, line_dash="dash", line_color=LIMIT, line_width=1)
        # On a logarithmic axis Plotly wants the exponent here, and only here.
        figure.add_annotation(
            x=math.log10(limit), y=0, yref="paper", text="limit", showarrow=False, xanchor="left"
        )
    figure.update_layout(
        title={
            "text": f"{search.name}: validation {search.metric.name} against {search.cost.axis}",
            "subtitle": {"text": "" if links is None else "a click on a point opens its run"},
        },
        xaxis={
            "title": search.cost.axis,
            **_logarithmic([cost for group in groups for cost in group.costs]),
        },
        yaxis={
            "title": f"{search.metric.name} on validation",
            "automargin": True,
            **_score_axis([score for group in groups for score in group.scores], search),
        },
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
    )
    return figure


def _add_frontier(
    figure: Any, records: list[TrialRecord], search: SearchFile, links: MlflowLinks | None
) -> None:
    members = frontier(records, search.criteria)
    x, y = frontier_steps(records, search)
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"shape": "hv", "color": LINE}, showlegend=False,
        hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=[r.result[search.cost.name] for r in members],
        y=[r.result["score"] for r in members],
        error_y={
            "array": [r.result["score_high"] - r.result["score"] for r in members],
            "arrayminus": [r.result["score"] - r.result["score_low"] for r in members],
            "thickness": 1,
        },
        mode="markers",
        name="frontier, with 95 % intervals",
        marker={"size": 10, "color": LINE},
        hovertext=[hover_text(r, search) for r in members],
        hoverinfo="text",
        customdata=_pages([r.number for r in members], links),
    )


def _pages(numbers: list[int], links: MlflowLinks | None) -> list[str] | None:
    return None if links is None else [links.trial(number) for number in numbers]


def _score_axis(scores: list[float], search: SearchFile) -> dict[str, Any]:
    """Up is better everywhere: the axis of a metric that is minimised is turned over."""
    if search.metric.is_maximised:
        return {}
    return {**_logarithmic(scores), "autorange": "reversed"}


def _logarithmic(values: list[float]) -> dict[str, Any]:
    # Plotly's own ticks are digits without their power of ten.
    ticks = log_ticks(values)
    return {"type": "log", "tickvals": ticks, "ticktext": [tick_text(tick) for tick in ticks]}
