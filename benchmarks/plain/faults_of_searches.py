"""Faults 15, 16 and 20: clocks, searches of one name, and strangers."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient

from plain.arena import Arena, write_data
from plain.checker import Score, check
from plain.driver import open_storage
from tests.faults.clocks import HOUR, build_clock, wrong
from tests.faults.ports import free_port
from tests.waiting import is_served, wait_for


def clock_off(arena: Arena) -> Score:
    """A driver is started again with its clock an hour back, and once more with the right one."""
    arena.search.trials = 10
    clock = build_clock(arena.folder)
    first = arena.start()
    arena.wait_line("told", 2)
    arena.interrupt(first)
    second = arena.start(**wrong(clock, -HOUR, "plain.driver"))
    arena.wait_line("told", 6)
    arena.interrupt(second)
    third = arena.start()
    with contextlib.suppress(AssertionError):
        arena.wait_recovered()
    code = arena.finish(third)
    return check(arena, code, f"interrupted, gone on an hour earlier, then now: exit code {code}")


def same_search_twice(arena: Arena) -> Score:
    """The same script is started twice at once, where an earlier search has made the databases."""
    open_storage(arena.search.study)
    MlflowClient(arena.search.tracking_uri).search_experiments()
    one = arena.start()
    other_settings = replace(arena.search, folder=str(arena.folder / "other"))
    other = arena.start(settings=other_settings)
    codes = [arena.finish(one), arena.finish(other)]
    # What there is afterwards, rather than what each of the two was told.
    reader = arena.start("results")
    code = arena.finish(reader)
    ended = len(arena.witness.told())
    return check(
        arena,
        code,
        f"two searches: {ended} trainings ended for {arena.search.trials} asked for, "
        f"exit codes {codes[0]} and {codes[1]}",
    )


def name_of_another(arena: Arena) -> Score:
    """A script with other data and more trials is started under the name of a search that ended."""
    arena.search.trials = 3
    arena.finish(arena.start())
    before = len(arena.witness.steps())
    other_data = arena.folder / "other.pt"
    write_data(other_data, arena.seed + 1000)
    code = arena.finish(arena.start(settings=replace(arena.search, data=str(other_data), trials=6)))
    more = len(arena.witness.steps()) - before
    return check(
        arena,
        code,
        f"not refused: exit code {code}, {more} steps trained, the other search's results answered",
        steps_of_the_second=more,
    )


def stranger(arena: Arena) -> Score:
    """A cluster is started as documented, and one without any token sends it a job."""
    port, dashboard = free_port(), free_port()
    proof = arena.folder / "proof"
    plain = {
        key: value
        for key, value in arena.environment(RAY_TMPDIR=str(arena.folder)).items()
        if not key.startswith("RAY_AUTH")
    }
    ray = str(Path(sys.executable).parent / "ray")
    arena.spawn(
        [
            ray, "start", "--head", "--block", f"--port={port}", "--num-cpus=1",
            f"--dashboard-port={dashboard}", "--object-store-memory=100000000",
            f"--temp-dir={arena.folder / 'ray'}",
        ],
        plain,
    )  # fmt: skip
    import requests

    address = f"http://127.0.0.1:{dashboard}/api/jobs/"

    wait_for("the dashboard answers", lambda: is_served(address), 90)
    reply = requests.post(address, json={"entrypoint": f"touch {proof}"}, timeout=60)
    deadline = time.monotonic() + 60
    while not proof.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    ran = proof.exists()
    return Score(
        words=f"a job sent without a token: HTTP {reply.status_code}, its command "
        f"{'was run' if ran else 'was not run'}",
        details={"http": reply.status_code, "command_ran": ran, "user": os.getuid()},
    )
