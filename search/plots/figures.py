"""Writing the figures of a search: pages for a browser, a PNG for everything else."""

from __future__ import annotations

from pathlib import Path

from search.mlflow_links import MlflowLinks
from search.pareto import Scale
from search.plots.frontier_figure import frontier_figure
from search.plots.frontier_png import frontier_png
from search.plots.pages import Chart, render
from search.plots.parallel_coordinates import parallel_figure
from search.plots.trial_points import metric_name
from search.storage.study import Study

CLICK = "A click on a point opens its run."
DRAG = (
    "The brighter a line, the better its score. Drag along an axis to select trials; drag the name "
    "of an axis to move it."
)


def write_figures(
    study: Study, folder: Path, links: MlflowLinks | None = None, server: str = ""
) -> None:
    """Write ``frontier.html``, ``frontier.png`` and ``parallel_coordinates.html``.

    Args:
        study: The record.
        folder: Where to.
        links: Pages of the trials in MLflow, which a click on a point opens.
        server: The MLflow server, for a page that is opened as a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records, space, name = study.records(), study.space, study.search.name
    criteria = space.criteria
    what = f"{metric_name(criteria)} against {criteria.cost.noun}"
    frontier = Chart(frontier_figure(records, criteria, links), f"{what} of every trial")
    parallel = Chart(
        parallel_figure(records, space),
        f"a line over dimensions, {criteria.cost.noun} and score for each trial",
        min_width=640,
    )
    (folder / "frontier.html").write_text(
        figure_page(
            f"{name}: {what}", frontier, "" if links is None else CLICK, server if links else None
        )
    )
    (folder / "parallel_coordinates.html").write_text(
        figure_page(f"{name}: every trial", parallel, DRAG, uses_webgl=True)
    )
    frontier_png(records, criteria, Scale.of(space), name, folder / "frontier.png")


def figure_page(
    title: str, chart: Chart, text: str, server: str | None = None, *, uses_webgl: bool = False
) -> str:
    """A page with one figure; with a server, a click on a point opens the run of its trial."""
    return render(
        "search.plots",
        "figure.html.j2",
        title=title,
        chart=chart,
        text=text,
        server=server,
        uses_webgl=uses_webgl,
    )
