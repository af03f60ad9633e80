"""Figures of a search: their traces and axes, and the pages and pictures made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from search.mlflow_links import MlflowLinks, server_url
from search.plots.figures import write_figures
from search.plots.frontier_figure import frontier_figure
from search.plots.pages import plotly_script
from search.plots.parallel_coordinates import parallel_figure
from search.plots.reference_points import REFERENCES_NAME
from search.plots.trial_points import FRONTIER_NAME
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_reference, made_up_result

POINTS = ((0.60, 0.1), (0.80, 0.4), (0.70, 0.5), (0.75, 0.2), (0.90, 3.0))


def filled(search: SearchFile, home: Path) -> Study:
    """Three trials on the frontier, one dominated, one above 2 MB, one failed, one running."""
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    for accuracy, size in POINTS:
        checkpoint = f"checkpoints/{size}"
        result = made_up_result(accuracy, size, checkpoint=checkpoint, latency_ms=10 * size)
        study.tell_result(study.ask().number, result)
    study.tell_failure(study.ask().number, "diverged", "the loss rose")
    study.ask()
    return study


@pytest.fixture
def limited(make_search: Callable[..., SearchFile], home: Path) -> Study:
    return filled(make_search(trials=20, constraints={"max_size_mb": 2.0}), home)


def traces(study: Study) -> dict[str, Any]:
    figure = frontier_figure(study.records(), study.search.criteria)
    return {trace.name: trace for trace in figure.data}


def test_every_complete_trial_is_a_point_and_the_frontier_has_its_intervals(limited: Study) -> None:
    drawn = traces(limited)
    assert list(drawn["other trials"].x) == [0.5]
    assert list(drawn["breaks a constraint"].x) == [3.0]
    members = drawn[FRONTIER_NAME]
    assert list(zip(members.x, members.y, strict=True)) == [(0.1, 0.6), (0.2, 0.75), (0.4, 0.8)]
    assert members.error_y.array == pytest.approx([0.03] * 3)
    assert members.error_y.arrayminus == pytest.approx([0.03] * 3)
    assert members.hovertext[1].startswith("<b>#3</b>")
    assert "0.200 MB" in members.hovertext[1]


def test_references_are_points_at_their_size_or_lines(limited: Study, home: Path) -> None:
    names = {
        "majority class": (0.5, 0.0),
        "regression": (0.77, 0.15),
        "large regression": (0.7, 1.0),
    }
    limited.set_references([made_up_reference(name, *at) for name, at in names.items()])
    references = limited.references()
    figure = frontier_figure(limited.records(), limited.search.criteria, references=references)
    points, line = (trace for trace in figure.data if trace.name == REFERENCES_NAME)
    assert list(zip(points.x, points.y, strict=True)) == [(0.15, 0.77), (1.0, 0.7)]
    assert points.error_y.array == pytest.approx([0.02] * 2)
    assert (set(line.y), line.text[1]) == ({0.5}, "majority class")
    assert "4 bytes for each weight" in points.hovertext[0]
    (members,) = (trace for trace in figure.data if trace.name == FRONTIER_NAME)
    # Only the second member is larger than a reference that is better.
    assert list(members.marker.symbol) == ["circle", "circle-open", "circle"]
    assert "regression is at least as good" in members.hovertext[1]
    write_figures(limited, home / "reports")
    assert "large regression" in (home / "reports" / "frontier.html").read_text()


def test_a_search_of_references_without_bytes_alone_is_drawn(study: Study, home: Path) -> None:
    study.set_references([made_up_reference("majority class", 0.5, 0.0)])
    write_figures(study, home / "figures")
    assert (home / "figures" / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_where_size_is_no_cost_references_are_lines(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study = filled(make_search(trials=20, objectives=["accuracy", "flops"]), home)
    study.set_references([made_up_reference("regression", 0.77, 0.15)])
    figure = frontier_figure(study.records(), study.search.criteria, references=study.references())
    (line,) = (trace for trace in figure.data if trace.name == REFERENCES_NAME)
    assert list(line.y) == [0.77, 0.77]
    write_figures(study, home / "reports")


def test_the_frontier_extends_to_the_limit(limited: Study) -> None:
    steps = traces(limited)[None]
    assert steps.line.shape == "hv"
    assert (steps.x[-1], steps.y[-1]) == (2.0, 0.8)


def test_the_limit_is_marked_where_it_is(limited: Study) -> None:
    figure = frontier_figure(limited.records(), limited.search.criteria)
    (line,) = figure.layout.shapes
    (text,) = figure.layout.annotations
    assert line.x0 == 2.0
    assert text.x == pytest.approx(math.log10(2.0))


@pytest.mark.parametrize("cost", ["size_mb", "latency_ms", "flops"])
def test_axes_say_what_they_measure_in_which_unit(
    cost: str, make_search: Callable[..., SearchFile], home: Path
) -> None:
    constraints = {"max_latency_ms": 20.0} if cost == "latency_ms" else {}
    search = make_search(trials=20, objectives=["accuracy", cost], constraints=constraints)
    study = filled(search, home)
    layout = frontier_figure(study.records(), study.search.criteria).layout
    expected = {"size_mb": "MB", "latency_ms": "ms", "flops": "FLOPs"}
    assert expected[cost] in layout.xaxis.title.text
    assert layout.xaxis.type == "log"
    assert layout.yaxis.title.text == "accuracy on validation"
    # Whole numbers, and not Plotly's digits without their power of ten.
    expected_ticks = {"size_mb": "0.2", "latency_ms": "20", "flops": "200 k"}
    assert expected_ticks[cost] in layout.xaxis.ticktext


def test_up_is_better_where_less_is(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    study = Study.open(make_task_search("masked-lm", trials=20), f"sqlite:///{home / 'study.db'}")
    for score, size in ((90.0, 0.1), (20.0, 0.4), (70.0, 0.5), (40.0, 0.2)):
        result = made_up_result(
            score, size, metric="perplexity", score_low=score - 5, score_high=score + 9
        )
        study.tell_result(study.ask().number, result)
    layout = frontier_figure(study.records(), study.search.criteria).layout
    assert layout.yaxis.title.text == "perplexity on validation"
    assert layout.yaxis.autorange == "reversed"
    members = traces(study)[FRONTIER_NAME]
    assert list(members.y) == [90.0, 40.0, 20.0]
    assert list(members.error_y.array) == [9.0] * 3
    assert list(members.error_y.arrayminus) == [5.0] * 3
    write_figures(study, home / "reports")
    assert (home / "reports" / "frontier.png").stat().st_size > 10_000


def test_pages_need_no_network(limited: Study, home: Path) -> None:
    write_figures(limited, home / "reports")
    for name in ("frontier.html", "parallel_coordinates.html"):
        page = (home / "reports" / name).read_text()
        assert plotly_script() in page
        assert "<script src=" not in page.replace(plotly_script(), "")


def test_pages_draw_in_a_browser_without_errors(
    limited: Study, home: Path, browser: Browser
) -> None:
    write_figures(limited, home / "reports")
    for name in ("frontier.html", "parallel_coordinates.html"):
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        page.goto((home / "reports" / name).as_uri())
        page.locator(".chart .main-svg").first.wait_for()
        # Without leave to compile what WebGL draws, Plotly says that there is no WebGL.
        assert "WebGL" not in page.locator("main").inner_text()
        assert errors == []
        page.close()


def test_a_click_leads_to_the_run_of_the_trial(limited: Study, home: Path) -> None:
    links = MlflowLinks("7", "p", {number: f"run{number}" for number in range(5)})
    drawn = {
        t.name: t for t in frontier_figure(limited.records(), limited.search.criteria, links).data
    }
    members = drawn[FRONTIER_NAME]
    assert [page.partition("?")[0] for _, _, page in members.customdata] == [
        f"#/experiments/7/runs/run{number}" for number in (0, 3, 1)
    ]
    write_figures(limited, home / "reports", links, "https://mlflow.example")
    page = (home / "reports" / "frontier.html").read_text()
    assert 'data-server="https://mlflow.example"' in page


def test_a_click_opens_the_run_in_a_browser(limited: Study, home: Path, browser: Browser) -> None:
    links = MlflowLinks("7", "p", {number: f"run{number}" for number in range(5)})
    write_figures(limited, home / "reports", links, "https://mlflow.example")
    context = browser.new_context()
    context.route("https://mlflow.example/**", lambda route: route.fulfill(body="a run"))
    page = context.new_page()
    page.goto((home / "reports" / "frontier.html").as_uri())
    box = page.locator(".chart path[tabindex='0']").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.locator(".hoverlayer .hovertext").first.wait_for()
    with page.expect_popup() as opened:
        page.mouse.click(x, y)
    assert "/experiments/7/runs/run0" in opened.value.url
    context.close()


def test_a_server_is_named_without_its_credentials() -> None:
    assert server_url("https://me:secret@mlflow.example:5000/") == "https://mlflow.example:5000"
    assert server_url("sqlite:////somewhere/mlflow.db") == "http://127.0.0.1:5000"


def test_parallel_coordinates_have_an_axis_for_each_dimension_that_varies(limited: Study) -> None:
    (lines,) = parallel_figure(limited.records(), limited.space).data
    axes = {axis.label: axis for axis in lines.dimensions}
    assert len(axes["accuracy"]["values"]) == 5
    assert list(axes["accuracy"]["values"]) == list(lines.line.color)
    size = axes["size on disk, MB"]
    assert [10**value for value in size["values"]] == pytest.approx([s for _, s in POINTS])
    assert "0.5" in size.ticktext
    for label in set(axes) - {"accuracy", "size on disk, MB"}:
        assert len(set(axes[label]["values"])) > 1


def test_files_are_replaced_whole_also_when_nothing_is_complete(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study = Study.open(make_search(trials=20), f"sqlite:///{home / 'study.db'}")
    folder = home / "reports"
    for _ in range(2):
        write_figures(study, folder)
        study.tell_result(study.ask().number, made_up_result(0.5, 0.1))
    assert {path.name for path in folder.iterdir()} == {
        "frontier.html", "frontier.png", "parallel_coordinates.html",
    }  # fmt: skip
    assert (folder / "frontier.png").read_bytes().startswith(b"\x89PNG")
