"""The report of a search: its content, in a browser, and hostile input."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from search.analysis.report.dimensions import importances
from search.analysis.report.report import report_page, sections
from search.analysis.report.report_data import ReportData, Section
from search.cli.main import cli
from search.plots.pages import plotly_script
from search.storage.references import REFERENCES, references_of
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.browser import screenshot
from tests.search.conftest import Tlc, made_up_reference, made_up_result

POINTS = ((0.60, 0.1), (0.80, 0.4), (0.70, 0.5), (0.75, 0.2), (0.90, 3.0))
HOSTILE = (
    "</td><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def view(search: SearchFile, results: Iterable[dict[str, Any]]) -> ReportData:
    """A search with a complete trial for each result."""
    space = SearchSpace(search)
    points = list(space.points())
    records = [
        record(space.configuration(points[k % len(points)]), k, "complete", result)
        for k, result in enumerate(results)
    ]
    said = ["data.labelled.train: 3 texts are <empty>"]
    data = {"fingerprint": "f00d" * 16, "counts": {"texts": 400}, "notices": said}
    return ReportData(space, records, {}, data)


def record(
    configuration: Configuration, number: int, state: str, result: dict[str, Any] | None = None
) -> TrialRecord:
    ended = None if state == "running" else NOON + timedelta(seconds=number + 1)
    started = NOON + timedelta(seconds=number)
    return TrialRecord(number, state, configuration, result or {}, HOSTILE, started, ended)


def results(points: Iterable[tuple[float, float]] = POINTS) -> Iterator[dict[str, Any]]:
    """A result for each score and size; two are compressions of one training."""
    for number, (score, size) in enumerate(points):
        yield made_up_result(score, size, checkpoint=f"checkpoints/{number // 2}")


@pytest.fixture
def limited(make_search: Callable[..., SearchFile]) -> ReportData:
    """Three trials on the frontier, one dominated, one above 2 MB, one failed, one running."""
    made = view(make_search(trials=20, constraints={"max_size_mb": 2.0}), results())
    one = made.records[0].configuration
    more = [record(one, 5, "diverged"), record(one, 6, "running")]
    test = {1: made_up_result(0.78, 0.4)}
    return ReportData(made.space, [*made.records, *more], test, made.data)


def without_library(page: str) -> str:
    """A page without Plotly's JavaScript."""
    return page.replace(plotly_script(), "")


def text(page: str) -> str:
    """The text of a page, without its style, scripts and tags."""
    body = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", without_library(page), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_answer_is_first(limited: ReportData) -> None:
    said = text(report_page(limited))
    # 0.90 breaks the constraint.
    assert "The best model has accuracy 0.800 at 0.4 MB" in said
    assert "0.770–0.830" in said
    assert "test accuracy 0.780" in said
    assert "size ≤ 2 MB" in said
    assert re.search(r"20 \w+, 6 finished, 1 failed, 1 running", said)
    assert "data.labelled.train: 3 texts are &lt;empty&gt;" in said


def test_every_section_is_there_in_its_order(limited: ReportData) -> None:
    heads = re.findall(r'<h2 id="([a-z]+)">', report_page(limited))
    assert heads == [
        "frontier", "levels", "progress", "dimensions", "training", "compute", "conditions",
    ]  # fmt: skip


def test_references_stand_beside_the_frontier(limited: ReportData) -> None:
    references = references_of(
        {REFERENCES: [made_up_reference("a regression of <n-grams>", 0.85, 0.3)]}
    )
    said = text(report_page(replace(limited, references=references)))
    assert "No model here is better than a regression of &lt;n-grams&gt; : accuracy 0.850" in said
    assert "a regression of &lt;n-grams&gt;; 4 bytes for each weight" in said
    assert "a reference is at least as good, and no larger: #1." in said
    assert "how it was made" not in text(report_page(limited))


def section(data: ReportData, name: str) -> Section:
    return next(each for each in sections(data) if each.name == name)


def test_the_chart_has_every_trial_once_and_the_frontier_can_be_focused(
    limited: ReportData,
) -> None:
    (chart,) = section(limited, "frontier").charts
    drawn = {trace.name: trace for trace in chart.figure.data if trace.customdata is not None}
    trials = {
        name: [data[0] for data in trace.customdata]
        for name, trace in drawn.items()
        if "before compression" not in name
    }
    assert sorted(number for numbers in trials.values() for number in numbers) == [0, 1, 2, 3, 4]
    (members,) = [trace for trace in drawn.values() if trace.meta]
    assert [data[0] for data in members.customdata] == [0, 3, 1]
    assert trials["breaks a constraint"] == [4]
    assert "2 MB" in chart.figure.layout.annotations[0].text


def test_every_chart_has_a_description_and_a_table_beside_it(limited: ReportData) -> None:
    for each in sections(limited):
        assert all(chart.label for chart in each.charts)
        assert not each.charts or each.tables
    table = section(limited, "frontier").tables[0]
    assert [row[:2] for row in table.rows] == [
        ["#0", "0.600"], ["#3", "0.750"], ["#1", "0.800"],
    ]  # fmt: skip


def test_progress_rises_with_each_member_of_the_frontier(limited: ReportData) -> None:
    by_compute, by_trials = section(limited, "progress").charts
    (line,) = by_trials.figure.data
    assert list(line.x) == [1, 2, 4, 6]
    assert list(line.y) == sorted(line.y)
    assert line.line.shape == "hv"
    assert by_compute.figure.data[0].y == line.y


def test_training_paths_fork_where_a_budget_leaves_them(limited: ReportData) -> None:
    (chart,) = section(limited, "training").charts
    _, models = chart.figure.data
    trained = {(r.configuration.architecture, r.configuration.budget) for r in limited.complete}
    assert len(models.x) == len(trained)
    texts = " ".join(models.hovertext)
    assert all(f"#{record.number}" in texts for record in limited.complete)


def test_bars_add_up_to_the_compute(limited: ReportData) -> None:
    (chart,) = section(limited, "compute").charts
    assert sum(sum(bar.x) for bar in chart.figure.data) == pytest.approx(5 * 4.2)


def test_the_page_needs_no_network(limited: ReportData) -> None:
    page = without_library(report_page(limited)).replace(HOSTILE, "")
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    assert "url(" not in page
    assert len(page) < 100_000


def test_a_failure_message_is_text(limited: ReportData) -> None:
    page = without_library(report_page(limited))
    assert 'onerror="document' not in page
    assert "&lt;script&gt;document.title" in page


@pytest.mark.parametrize("trials", [0, 1])
def test_a_search_with_at_most_one_trial(
    trials: int, make_search: Callable[..., SearchFile]
) -> None:
    said = text(report_page(view(make_search(), results(POINTS[:trials]))))
    assert "NaN" not in said
    if trials == 0:
        assert "No trial is complete yet" in said
    else:
        assert "The best model has accuracy 0.600" in said
        assert "too few different trials" in said


def test_the_nearest_is_shown_where_nothing_meets_the_constraints(
    make_search: Callable[..., SearchFile],
) -> None:
    search = make_search(constraints={"max_size_mb": 2.0})
    said = text(report_page(view(search, results(((0.95, 4.0), (0.9, 3.0))))))
    assert "No trial meets the constraints yet. The nearest is #1" in said


def test_a_perplexity_is_better_further_up(make_task_search: Callable[..., SearchFile]) -> None:
    points = ((90.0, 0.1), (20.0, 0.4), (70.0, 0.5), (40.0, 0.2))
    made = (
        made_up_result(
            score, size, metric="perplexity", score_low=score - 5, score_high=score + 9,
            dense_score=score,
        )
        for score, size in points
    )  # fmt: skip
    data = view(make_task_search("masked-lm"), made)
    said = text(report_page(data))
    assert "The best model has perplexity 20 at 0.4 MB" in said
    assert "the axis is reversed" in said
    layout = section(data, "frontier").charts[0].figure.layout
    assert layout.yaxis.type == "log"
    assert layout.yaxis.autorange == "reversed"


def test_a_diverged_perplexity_does_not_hide_the_others(
    make_task_search: Callable[..., SearchFile],
) -> None:
    made = (
        made_up_result(
            score, size, metric="perplexity", score_low=score, score_high=score, dense_score=20.0
        )
        for score, size in ((1e9, 0.1), (20.0, 0.4), (40.0, 0.2))
    )
    data = view(make_task_search("masked-lm"), made)
    worst, best = section(data, "frontier").charts[0].figure.layout.yaxis.range
    assert best < math.log10(20) < math.log10(40) < worst < 6


@pytest.mark.parametrize("cost", ["latency_ms", "flops"])
def test_other_costs(cost: str, make_search: Callable[..., SearchFile]) -> None:
    constraints = {"max_latency_ms": 20.0} if cost == "latency_ms" else {}
    search = make_search(objectives=["accuracy", cost], constraints=constraints)
    figure = section(view(search, results()), "frontier").charts[0].figure
    title = figure.layout.xaxis.title.text
    assert {"latency_ms": "latency, ms", "flops": "forward FLOPs"}[cost] in title
    # The latency and the FLOPs of the dense model are not measured.
    assert not any("before compression" in (trace.name or "") for trace in figure.data)


def test_a_search_at_a_fixed_cost(make_search: Callable[..., SearchFile]) -> None:
    search = make_search(objectives=["accuracy"], constraints={"max_size_mb": 2.0})
    data = view(search, results())
    said = text(report_page(data))
    assert "The best model at the fixed cost has accuracy 0.800" in said
    assert [row[0] for row in section(data, "levels").tables[0].rows] == ["1.", "2.", "3.", "4."]
    line = section(data, "progress").charts[1].figure.data[0]
    assert list(line.y) == [0.6, 0.8, 0.8]


@pytest.mark.slow
def test_a_long_search_stays_small(make_search: Callable[..., SearchFile]) -> None:
    many = ((0.3 + 0.5 * (k * 0.618 % 1.0), 0.05 + k / 1000) for k in range(5000))
    page = without_library(report_page(view(make_search(), results(many))))
    assert len(page) < 3_500_000


def test_importances_are_those_of_the_dimensions_that_matter(
    make_search: Callable[..., SearchFile],
) -> None:
    search = make_search()
    configurations = list(map(SearchSpace(search).configuration, SearchSpace(search).points()))
    made = (
        made_up_result(0.5 + 0.3 * (c.architecture.width == 64), 0.1 * c.architecture.depth)
        for c in configurations
    )
    shares = {each.dimension.name: each for each in importances(view(search, made))}
    assert shares["width"].score > 0.9
    assert shares["depth"].cost > 0.9
    assert shares["depth"].score < 0.1


def test_storage_addresses_are_not_in_the_report(make_search: Callable[..., SearchFile]) -> None:
    search = make_search(storage={"mlflow": "https://user:secret@host"})
    page = without_library(report_page(view(search, [])))
    assert "secret" not in page
    assert "batch_size: 16" in page


@pytest.fixture(scope="module")
def written(finished: Tlc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a real search."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_page(ReportData.of(finished.study())), encoding="utf-8")
    return path


@pytest.fixture
def opened(
    written: Path, browser: Browser, request: pytest.FixtureRequest
) -> Iterator[tuple[Page, list[str]]]:
    """The page of a real search at a width and in a colour scheme, and its console messages."""
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(written.as_uri())
    yield page, messages
    context.close()


@pytest.mark.parametrize("opened", [(390, "light"), (1280, "dark")], indirect=True)
def test_it_fits_and_shows_configurations(
    opened: tuple[Page, list[str]], finished: Tlc, tmp_path: Path
) -> None:
    page, messages = opened
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    charts = page.locator(".chart")
    assert charts.count() == page.locator(".chart .main-svg:first-of-type").count()
    records = {record.number: record for record in finished.study().records()}
    members = page.locator(".chart path[tabindex='0']")
    assert members.count() >= 1
    first = members.first
    named = first.get_attribute("aria-label") or ""
    record = records[int(named[1:].split()[0])]
    hover = page.locator(".hoverlayer .hovertext")
    assert hover.count() == 0
    first.focus()
    hover.first.wait_for()
    shown = hover.first.text_content() or ""
    assert shown.startswith(f"#{record.number} ")
    assert f"width {record.configuration.architecture.width}" in shown
    assert str(record.configuration.compression) in shown
    page.keyboard.press("Escape")
    hover.first.wait_for(state="detached")
    assert screenshot(page, tmp_path / "page.png").stat().st_size > 20_000
    assert messages == []


def test_pointing_at_a_trial_dims_those_of_other_trainings(
    limited: ReportData, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report_page(limited), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    member = page.locator(".chart path[tabindex='0']").first
    member.hover(force=True)
    page.wait_for_function(
        "[...document.querySelectorAll('.chart .points path')].some((e) => e.style.opacity < 0.5)"
    )
    assert float(member.evaluate("(e) => getComputedStyle(e).opacity")) > 0.5
    page.close()


def test_the_policy_keeps_scripts_out(
    limited: ReportData, browser: Browser, tmp_path: Path
) -> None:
    """Escaping comes first; were it to fail, nothing would run all the same."""
    broken = report_page(limited).replace("</main>", f"{HOSTILE}</main>")
    path = tmp_path / "report.html"
    path.write_text(broken, encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.title() == "tiny: report"
    page.close()


def test_the_command_writes_the_page_and_logs_it(
    study: Study, home: Path, empty_mlflow: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    study.tell_result(study.ask().number, made_up_result(0.6, 0.1))
    shutil.copy(empty_mlflow, home / "mlflow.db")
    printed = CliRunner().invoke(cli, ["report", "tiny"], catch_exceptions=False)
    assert printed.exit_code == 0
    path = home / "reports" / "tiny" / "report.html"
    assert printed.stdout == f"report: {path}\n"
    assert "Not measured: the model of trial 0 is not in the store" in path.read_text()
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`tlc.key` LIKE '%/parent'")
    names = {file.path for file in client.list_artifacts(runs[0].info.run_id, "report")}
    assert names == {"report/report.html"}
    elsewhere = tmp_path / "elsewhere"
    CliRunner().invoke(cli, ["report", "tiny", "--to", str(elsewhere)], catch_exceptions=False)
    assert (elsewhere / "report.html").read_text() == path.read_text()


def test_a_folder_that_cannot_be_written_is_refused(finished: Tlc) -> None:
    refused = finished.ask("report", "tiny", "--to", "/proc/tlc")
    assert refused.returncode == 2
    assert "/proc/tlc cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr
