"""MLflow pages of a finished search, in a browser."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.faults.ports import free_port
from tests.search.conftest import Tlc
from tests.waiting import is_served, wait_for

TIMEOUT_MS = 60_000
"""MLflow loads large scripts, and the machine may be busy."""
FRONTIER = "frontier, with 95 % intervals"


@pytest.fixture(scope="module")
def ui(finished: Tlc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``tlc ui`` over the finished search; gives the address that it prints for it."""
    printed = tmp_path_factory.mktemp("ui") / "printed.txt"
    port = free_port()
    with printed.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "search.cli", "ui", "--port", str(port)],
            env=finished.environment(),
            cwd=finished.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}/health"
        wait_for("MLflow's page", lambda: is_served(address), 120, every=0.2)
        found = re.search(r"^  tiny: (\S+)$", printed.read_text(), re.MULTILINE)
        assert found, printed.read_text()
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a new browser context."""
    opened = browser.new_page(viewport={"width": 1600, "height": 1000})
    opened.set_default_timeout(TIMEOUT_MS)
    yield opened
    opened.close()


def test_the_printed_address_leads_to_the_frontier(ui: str, page: Page) -> None:
    page.goto(ui)
    page.get_by_role("link", name="search tiny: frontier and figures").first.click()
    expect(page.get_by_text("8 of 8 trials")).to_be_visible(timeout=TIMEOUT_MS)

    page.get_by_role("tab", name="Model metrics").click()
    for section in ("by_compute_seconds", "Model metrics"):
        expect(page.get_by_text(section).first).to_be_visible(timeout=TIMEOUT_MS)
    # The charts below are drawn when a person gets there.
    expect(page.get_by_text("hypervolume", exact=True).first).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=TIMEOUT_MS)
    # A line that has not changed yet has no height, so it counts that it is drawn.
    lines = page.locator(".js-plotly-plot .scatterlayer path.js-line")
    expect(lines.first).to_be_attached(timeout=TIMEOUT_MS)

    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("frontier", exact=True).first.click()
    page.get_by_text("frontier.html", exact=True).first.click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text(FRONTIER)).to_be_visible(timeout=TIMEOUT_MS)
    point = frame.locator(".scatterlayer .trace").last.locator("path.point").first
    point.hover(force=True)
    expect(frame.locator(".hovertext")).to_contain_text("depth")
    point.click(force=True)
    # Its frame lets no page open another: the address is there to be copied.
    expect(frame.get_by_text("to copy into the address bar")).to_be_visible()
    expect(frame.locator("code")).to_contain_text(f"{ui.partition('/#')[0]}/#/experiments/")


def test_saved_views_list_the_trials_with_their_numbers(ui: str, page: Page, finished: Tlc) -> None:
    page.goto(ui)
    page.get_by_role("link", name="all trials").first.wait_for()
    address = page.get_by_role("link", name="all trials").first.get_attribute("href")
    # Otherwise the page, which is still loading, replaces the new address by its own state.
    page.goto("about:blank")
    page.goto(ui.partition("#")[0] + (address or ""))
    for column in ("accuracy", "size_mb", "depth", "quantisation"):
        header = page.get_by_role("columnheader", name=column, exact=True).first
        expect(header).to_be_visible(timeout=TIMEOUT_MS)
    # The trials, their repeats, and the run of the search.
    runs = sum(map(len, finished.study().records_and_repeats())) + 1
    expect(page.get_by_text("matching runs")).to_contain_text(f"{runs} ", timeout=TIMEOUT_MS)


def test_a_click_in_the_page_of_its_own_opens_the_run(ui: str, page: Page, finished: Tlc) -> None:
    (figure,) = (finished.folder / "home" / "mlartifacts").rglob("frontier.html")
    page.context.route("http://127.0.0.1:5000/**", lambda route: route.fulfill(body="the run"))
    page.goto(figure.as_uri())
    point = page.locator(".scatterlayer .trace").last.locator("path.point").first
    with page.expect_popup() as opened:
        point.click(force=True)
    assert re.search(r"#/experiments/\d+/runs/[0-9a-f]{32}\?", opened.value.url)
    opened.value.close()


def test_other_names_for_this_machine_are_refused(ui: str) -> None:
    server = ui.partition("/#")[0]
    search = f"{server}/api/2.0/mlflow/experiments/search"
    body = {"max_results": 10}
    assert requests.post(search, json=body, timeout=30).ok
    foreign = {"Host": "example.org"}
    assert requests.post(search, json=body, headers=foreign, timeout=30).status_code == 403
    elsewhere = {"Origin": "https://example.org"}
    assert requests.post(search, json=body, headers=elsewhere, timeout=30).status_code == 403


def test_a_busy_port_is_refused_before_anything_starts(tlc: Tlc) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = tlc.ask("ui", "--port", port)
    assert refused.returncode == 2
    assert f"error: --port: {port} is in use" in refused.stderr
    assert not (tlc.folder / "home" / "mlflow.db").exists()


def test_a_server_that_is_away_is_named_without_its_password(finished: Tlc) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    named = finished.ask("ui", MLFLOW_TRACKING_URI=uri)
    assert named.returncode == 2
    assert "MLflow at http://127.0.0.1:9 cannot be reached" in named.stderr
    assert "secret" not in named.stdout + named.stderr
    assert "Traceback" not in named.stderr
