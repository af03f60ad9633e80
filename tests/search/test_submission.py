"""A search that the service starts, stops and resumes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.results.client import Client, ServiceError
from search.results.schemas import Search
from search.storage.lease import lease_of
from tests.search.conftest import Tlc
from tests.waiting import wait_for


def test_a_search_is_submitted_stopped_and_resumed(
    tlc: Tlc, document: dict[str, Any], mlflow_made: None
) -> None:
    # One trial at a time: a second worker process would take most of the time of this test.
    sent = {**document, "name": "sent", "trials": 30, "concurrency": 1}
    corpus = str(Path(document["data"]["unlabelled"]["train"]).parent)

    def wait_until(what: str, holds: Callable[[Search], bool]) -> None:
        wait_for(what, lambda: holds(Client(url).search("sent")), 150, every=0.3)

    with tlc.ready("--data-root", corpus) as url:
        started = Client(url).submit(sent, ["trials=40"])
        assert started.name == "sent"
        wait_until("running", lambda search: search.state == "running")
        with pytest.raises(ServiceError, match="running already"):
            Client(url).submit(sent, ["trials=40"])
        wait_until("a trial", lambda search: search.complete >= 1)
    # The search runs without the service until SIGTERM, which a cluster sends to end a job.
    driver = lease_of(tlc.study("sent").attributes)
    assert driver is not None
    os.kill(driver.pid, signal.SIGTERM)
    wait_for(
        "its end", lambda: tlc.ask("status", "sent").stdout.strip() == "stopped", 150, every=0.5
    )
    # The result is printed after the state has changed.
    wait_for("its output", lambda: "tlc best sent" in tlc.ask("logs", "sent").stdout, 30, every=0.5)
    printed = tlc.ask("logs", "sent").stdout
    for expected in ("interrupted after", "hypervolume", "tlc best sent"):
        assert expected in printed
    assert "Traceback" not in printed
    records = tlc.study("sent").records()
    assert {record.state for record in records} <= {"complete", "running"}
    had = sum(record.is_complete for record in records)
    # The service has no state: a new one continues.
    with tlc.ready() as url:
        with pytest.raises(ServiceError, match="is not running") as refused:
            Client(url).stop("sent")
        assert refused.value.status == 409
        Client(url).resume("sent")
        wait_until("running", lambda search: search.state == "running")
        stopped = tlc.ask("stop", "sent", "--server", url)
        assert stopped.returncode == 0, stopped.stderr
        wait_until("stopped", lambda search: search.state == "stopped")
        assert Client(url).search("sent").complete >= had > 0
