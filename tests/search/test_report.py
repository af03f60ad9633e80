"""The report of a search: what it says, how it looks in a browser, and what it refuses."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from search.analysis.report.axes import Axis, even_ticks, log_ticks, time_ticks
from search.analysis.report.importance import importances
from search.analysis.report.page import report_page
from search.analysis.report.report_data import ReportData
from search.cli.main import cli
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.browser import screenshot
from tests.search.conftest import Tlc, made_up_result

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
    return ReportData(space, records, {}, {"fingerprint": "f00d" * 16, "counts": {"texts": 400}})


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


def text(page: str) -> str:
    """What a page says, without its style, script and tags."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_answer_is_first(limited: ReportData) -> None:
    said = text(report_page(limited))
    # 0.90 breaks the constraint.
    assert "The best model has accuracy 0.800 at 0.4 MB" in said
    assert "0.770–0.830" in said
    assert "test accuracy 0.780" in said
    assert "size ≤ 2 MB" in said
    assert "20 asked for, 6 finished, 1 failed, 1 running or cut off" in said


def test_every_section_is_there_in_its_order(limited: ReportData) -> None:
    heads = re.findall(r'<h2 id="([a-z]+)">', report_page(limited))
    assert heads == [
        "frontier", "levels", "progress", "dimensions", "sharing", "compute", "conditions",
    ]  # fmt: skip


def test_the_chart_has_every_trial_once_and_the_frontier_can_be_focused(
    limited: ReportData,
) -> None:
    chart = re.findall(r'<svg class="plot".*?</figure>', report_page(limited), flags=re.DOTALL)[0]
    assert sorted(map(int, re.findall(r'data-trial="(\d+)"', chart))) == [0, 1, 2, 3, 4]
    assert len(re.findall(r'tabindex="0"', chart)) == 3
    assert len(re.findall(r'class="dot broken"', chart)) == 1
    assert "limit 2 MB" in chart


def test_the_page_needs_no_network_and_little_room(limited: ReportData) -> None:
    page = report_page(limited)
    assert not re.search(r"(src|href)=[\"'](?!#)", page.replace(HOSTILE, ""))
    assert "url(" not in page
    assert len(page) < 200_000


def test_a_failure_message_is_text(limited: ReportData) -> None:
    page = report_page(limited)
    assert 'onerror="document' not in page
    assert "&lt;script&gt;document.title" in page


@pytest.mark.parametrize("trials", [0, 1])
def test_a_search_that_has_hardly_begun(
    trials: int, make_search: Callable[..., SearchFile]
) -> None:
    said = text(report_page(view(make_search(), results(POINTS[:trials]))))
    assert "NaN" not in said
    if trials == 0:
        assert "No trial is complete yet: there is no answer." in said
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
    page = report_page(view(make_task_search("masked-lm"), made))
    assert "The best model has perplexity 20 at 0.4 MB" in text(page)
    assert "the axis is reversed" in page
    chart = re.findall(r'<svg class="plot".*?</figure>', page, flags=re.DOTALL)[0]
    down = {
        int(trial): float(y)
        for y, trial in re.findall(r'<circle cx="[^"]+" cy="([^"]+)"[^>]*data-trial="(\d+)"', chart)
    }
    assert down[1] < down[3] < down[2] < down[0]


@pytest.mark.parametrize("cost", ["latency_ms", "flops"])
def test_other_costs(cost: str, make_search: Callable[..., SearchFile]) -> None:
    constraints = {"max_latency_ms": 20.0} if cost == "latency_ms" else {}
    search = make_search(objectives=["accuracy", cost], constraints=constraints)
    page = report_page(view(search, results()))
    assert {"latency_ms": "latency, ms", "flops": "forward FLOPs"}[cost] in page
    # The latency and the FLOPs of the dense model are not measured.
    assert "before compression" not in page


def test_a_search_at_a_fixed_cost(make_search: Callable[..., SearchFile]) -> None:
    search = make_search(objectives=["accuracy"], constraints={"max_size_mb": 2.0})
    said = text(report_page(view(search, results())))
    assert "The best model at the fixed cost has accuracy 0.800" in said
    assert "The best five" in said
    assert "best accuracy so far" in said


def test_a_long_search_stays_small(make_search: Callable[..., SearchFile]) -> None:
    many = ((0.3 + 0.5 * (k * 0.618 % 1.0), 0.05 + k / 1000) for k in range(5000))
    page = report_page(view(make_search(), results(many)))
    assert len(page) < 1_500_000
    assert "1,200 of 4," in page


def test_what_a_dimension_explains_is_told(make_search: Callable[..., SearchFile]) -> None:
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


def test_where_things_are_kept_is_not_told(make_search: Callable[..., SearchFile]) -> None:
    search = make_search(storage={"mlflow": "https://user:secret@host"})
    page = report_page(view(search, []))
    assert "secret" not in page
    assert "batch_size: 16" in page


WIDTHS = (390, 1280)


@pytest.fixture
def opened(
    finished: Tlc, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Page, list[str]]]:
    """The page of a real search at a width and in a colour scheme, and what the console says."""
    width, scheme = request.param
    path = tmp_path / "report.html"
    path.write_text(report_page(ReportData.of(finished.study())), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    yield page, complaints
    context.close()


@pytest.mark.parametrize(
    "opened", [(w, s) for w in WIDTHS for s in ("light", "dark")], indirect=True
)
def test_it_fits_and_shows_configurations(
    opened: tuple[Page, list[str]], finished: Tlc, tmp_path: Path
) -> None:
    page, complaints = opened
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    members = page.locator("#frontier ~ figure .members .dot")
    records = {record.number: record for record in finished.study().records()}
    assert members.count() >= 1
    first = members.first
    record = records[int(first.get_attribute("data-trial") or -1)]
    tip = page.locator("#tip")
    assert not tip.is_visible()
    first.hover(force=True)
    tip.wait_for(state="visible")
    shown = tip.inner_text()
    assert shown.startswith(f"#{record.number} {record.configuration.architecture}")
    assert str(record.configuration.compression) in shown
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    first.focus()
    assert tip.is_visible()
    assert screenshot(page, tmp_path / "page.png").stat().st_size > 20_000
    assert complaints == []


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


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.82, 0.97, [0.85, 0.9, 0.95])],
)
def test_even_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    ticks = even_ticks(low, high)
    assert set(expected) <= set(ticks)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_ticks_of_ratios_and_times() -> None:
    assert log_ticks(0.02, 20.0)[:3] == [0.03, 0.1, 0.3]
    assert log_ticks(1.0, 1e6) == [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]
    assert time_ticks(1500.0) == [0.0, 300.0, 600.0, 900.0, 1200.0, 1500.0]
    assert time_ticks(40 * 86_400.0)[1] == 7 * 86_400.0


def test_an_axis_of_one_value_has_it_in_the_middle() -> None:
    for value, is_log in ((0.5, False), (0.0, False), (3.0, True)):
        axis = Axis.around([value], is_log=is_log)
        assert axis.share(value) == pytest.approx(0.5)
