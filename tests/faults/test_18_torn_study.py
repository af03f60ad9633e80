"""Fault 18: the database file of the study is damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import RunChecker
from tests.faults.processes import kill_tree
from tests.faults.system import SystemUnderTest

TEARS: dict[str, Callable[[Path], None]] = {
    "emptied": lambda path: os.truncate(path, 0),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "last page": lambda path: os.truncate(path, path.stat().st_size - 4096),
}
COMMANDS = {
    "emptied": ("run search.yaml", "list", "serve --port 0"),
    "half": ("run search.yaml", "status endure"),
    "last page": ("run search.yaml", "best endure"),
}


def test_a_damaged_study_is_refused_and_its_backup_resumes(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["trials"] = 4
    driver = system.start()
    system.wait_finished(2)
    kill_tree(driver.pid)
    driver.wait()
    study = system.home / "study.db"
    # With a journal that the killed process may have left.
    backup = {path: path.read_bytes() for path in system.home.glob("study.db*")}

    for tear, do in TEARS.items():
        for path in backup.keys() - {study}:
            path.unlink(missing_ok=True)
        study.write_bytes(backup[study])
        do(study)
        torn = study.read_bytes()
        for words in COMMANDS[tear]:
            refused = system.tlc(*words.split())
            assert refused.returncode == 2, (words, refused.stdout, refused.stderr)
            assert f"{str(study)!r} is damaged" in refused.stderr
            assert "backup" in refused.stderr
            assert "Traceback" not in refused.stderr
        assert study.read_bytes() == torn

    for path, content in backup.items():
        path.write_bytes(content)
    system.finish()
    run_checker(system)
    assert system.finished() == 4
