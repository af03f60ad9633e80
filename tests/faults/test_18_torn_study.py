"""Fault 18: the file of the study is torn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import kill

TEARS: dict[str, Callable[[Path], None]] = {
    "emptied": lambda path: os.truncate(path, 0),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "last page": lambda path: os.truncate(path, path.stat().st_size - 4096),
}
COMMANDS = ("list", "best endure", "status endure", "trials endure", "serve --port 0")


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_study_is_refused_and_its_backup_goes_on(
    tear: str, arena: Arena, judge: Judge
) -> None:
    arena.document["trials"] = 4
    driver = arena.start()
    arena.wait_finished(2)
    kill(driver.pid)
    driver.wait()
    study = arena.home / "study.db"
    # With what the killed driver may have left half written.
    backup = {path: path.read_bytes() for path in arena.home.glob("study.db*") if path.is_file()}
    for path in backup:
        if path != study:
            path.unlink()
    TEARS[tear](study)
    torn = study.read_bytes()

    for words in ("run search.yaml", *COMMANDS):
        refused = arena.tlc(*words.split())
        assert refused.returncode == 2, (words, refused.stdout, refused.stderr)
        assert f"{str(study)!r} is damaged" in refused.stderr
        assert "put a backup of it back" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert study.read_bytes() == torn

    for path, content in backup.items():
        path.write_bytes(content)
    arena.finish()
    judge(arena)
    assert arena.finished() == 4
