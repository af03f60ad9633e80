"""Fault 19: the data changes between a stop and the next start."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from tests.faults.conftest import RunChecker
from tests.faults.system import SystemUnderTest

INTERRUPTED = 130


def test_changed_data_is_refused_and_old_results_stay_readable(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    source = system.document["data"]["unlabelled"]
    text = system.folder / "text.txt"
    shutil.copy(source["train"], text)
    source["train"] = str(text)
    driver = system.start()
    system.wait_finished(2)
    driver.send_signal(signal.SIGINT)
    system.finish(driver, code=INTERRUPTED)
    before = system.query("trials", system.name)

    whole = text.read_bytes()
    text.write_bytes(whole.replace(b"cat", b"dog", 1))
    refused = system.tlc("run", system.write())
    assert refused.returncode == 2
    assert "the data of search 'endure' has changed since its first trial" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert system.query("trials", system.name) == before
    assert system.query("best", system.name)["trial"] is not None
    report = system.tlc("report", system.name)
    assert report.returncode == 0, report.stderr
    assert list(Path(system.home).rglob("*.html"))

    text.write_bytes(whole)
    system.finish()
    run_checker(system)
    assert system.finished() == system.document["trials"]
