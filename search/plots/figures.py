"""Writing the figures of a search: pages for a browser, a PNG for everything else."""

from __future__ import annotations

from pathlib import Path

from search.hypervolume import Scale
from search.mlflow_links import MlflowLinks
from search.plots.frontier_figure import frontier_charts
from search.plots.frontier_png import frontier_png
from search.plots.pages import Chart, render
from search.plots.parallel_coordinates import parallel_figure
from search.plots.trial_points import metric_name
from search.seeds import Repeats
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
        study: The search.
        folder: It is created where it is missing.
        links: Pages of the trials in MLflow, which a click on a point opens.
        server: The MLflow server, for a page that is opened as a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records, repeats = study.records_and_repeats()
    space, name = study.space, study.search.name
    criteria, references = space.criteria, study.references()
    what = f"{metric_name(criteria)} against {' and '.join(c.noun for c in criteria.axes)}"
    known = Repeats(repeats)
    page = render(
        "search.plots",
        "figure.html.j2",
        title=f"{name}: {what}",
        charts=frontier_charts(records, criteria, links, references, known),
        text="" if links is None else CLICK,
        server=server if links else None,
    )
    (folder / "frontier.html").write_text(page, encoding="utf-8")
    label = f"a line over dimensions, {criteria.cost.noun} and score for each trial"
    page = render(
        "search.plots",
        "figure.html.j2",
        title=f"{name}: every trial",
        charts=[Chart(parallel_figure(records, space), label, min_width=640)],
        text=DRAG,
        server=None,
        uses_webgl=True,
    )
    (folder / "parallel_coordinates.html").write_text(page, encoding="utf-8")
    frontier_png(records, criteria, Scale.of(space), name, folder / "frontier.png", references)
