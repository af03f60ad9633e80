"""Fault 19: the data changes between a stop and the next start."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.conftest import Judge

INTERRUPTED = 130


def test_changed_data_is_refused_and_old_results_stay_readable(arena: Arena, judge: Judge) -> None:
    source = arena.document["data"]["unlabelled"]
    text = arena.folder / "text.txt"
    shutil.copy(source["train"], text)
    source["train"] = str(text)
    driver = arena.start()
    arena.wait_finished(2)
    driver.send_signal(signal.SIGINT)
    arena.finish(driver, code=INTERRUPTED)
    before = arena.answer("trials", arena.name)

    whole = text.read_bytes()
    text.write_bytes(whole.replace(b"cat", b"dog", 1))
    refused = arena.tlc("run", arena.write())
    assert refused.returncode == 2
    assert "the data of search 'endure' has changed since its first trial" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert arena.answer("trials", arena.name) == before
    assert arena.answer("best", arena.name)["trial"] is not None
    report = arena.tlc("report", arena.name)
    assert report.returncode == 0, report.stderr
    assert list(Path(arena.home).rglob("*.html"))

    text.write_bytes(whole)
    arena.finish()
    judge(arena)
    assert arena.finished() == arena.document["trials"]
