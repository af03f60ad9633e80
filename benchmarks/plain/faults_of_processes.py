"""Faults 1 to 9 of processes: drivers, workers, nodes and the head of the cluster."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil

from plain.arena import Arena
from plain.checker import Score, check
from plain.training import EVERY, STEPS
from tests.faults.ports import free_port, listens
from tests.faults.processes import kill, kill_tree
from tests.waiting import wait_for

NOTICE_SECONDS = 60.0
"""How long a worker that gets nowhere is left alone, to see whether anything is done."""


def kill_driver(arena: Arena) -> Score:
    """SIGKILL of the driver, three times at random; its user starts it again each time."""
    arena.search.trials = 10
    for _ in range(3):
        driver = arena.start()
        if arena.witness.steps():
            arena.wait_recovered()
        arena.wait_steps(arena.rng.randint(100, 1500))
        arena.kill_driver(driver)
    driver = arena.start()
    arena.wait_recovered()
    code = arena.finish(driver)
    return check(arena, code, f"killed 3 times, then exit code {code}")


def kill_worker(arena: Arena) -> Score:
    """SIGKILL of a worker in the middle of training, twice."""
    driver = arena.start()
    gone = []
    for count in (1, 2):
        arena.wait_line("told", count)
        victim = arena.wait_steps(arena.rng.randint(60, 300))
        path = next(step.path for step in reversed(arena.witness.steps()) if step.pid == victim)
        kill(victim)
        started = time.monotonic()
        arena.wait_recovered()
        arena.wait_resumed(path, victim)
        gone.append(round(time.monotonic() - started, 1))
    code = arena.finish(driver)
    words = f"the trial is tried again after up to {max(gone):g} s, exit code {code}"
    return check(arena, code, words, victim_recovery_seconds=gone)


def kill_while_saving(arena: Arena) -> Score:
    """SIGKILL of a worker while it writes a checkpoint, ten times: twice in each of five trials."""
    arena.search.trials = 5
    steps = arena.rng.sample(range(EVERY, STEPS, EVERY), 2)
    driver = arena.start(faults={"saving": {"steps": steps, "within_seconds": 0.03}})
    code = arena.finish(driver)
    killed = len([line for line in arena.witness.lines() if line[0] == "did"])
    return check(arena, code, f"killed {killed} times", killed=killed)


def lose_node(arena: Arena) -> Score:
    """All processes of one of two nodes are killed, and a new node joins."""
    arena.search.trials = 12
    port = free_port()
    arena.search.address = f"127.0.0.1:{port}"
    _node(arena, "head", "--head", f"--port={port}", "--include-dashboard=false")
    wait_for("the head listens", lambda: listens(port))
    lost = _node(arena, "lost", f"--address={arena.search.address}")
    driver = arena.start()

    def trains_there() -> int:
        there = {process.pid for process in psutil.Process(lost).children(recursive=True)}
        return next((s.pid for s in arena.witness.steps()[-20:] if s.pid in there), 0)

    arena.wait_line("told", 1)
    wait_for("the node trains", trains_there)
    victim = trains_there()
    path = next(step.path for step in reversed(arena.witness.steps()) if step.pid == victim)
    kill_tree(lost)
    started = time.monotonic()
    arena.wait_recovered()
    _node(arena, "new", f"--address={arena.search.address}")
    arena.wait_resumed(path, victim)
    gone = round(time.monotonic() - started, 1)
    code = arena.finish(driver)
    words = f"its trial is tried again after {gone:g} s, exit code {code}"
    return check(arena, code, words, victim_recovery_seconds=gone)


def _node(arena: Arena, name: str, *options: str) -> int:
    """Start a node with one processor; returns its process."""
    command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--num-cpus=1"]
    command += ["--object-store-memory=100000000", f"--temp-dir={arena.folder / name}", *options]
    return arena.spawn(command, arena.environment()).pid


def lose_head(arena: Arena) -> Score:
    """SIGKILL of the cluster's control service; a new cluster is started by a new driver."""
    driver = arena.start()
    arena.wait_line("told", 2)
    (head,) = [
        process.pid
        for process in psutil.Process(driver.pid).children(recursive=True)
        if "gcs_server" in process.name()
    ]
    kill(head)
    started = time.monotonic()
    code = arena.finish(driver, 150.0)
    ended = round(time.monotonic() - started)
    arena.kill_driver(driver)
    again = arena.start()
    arena.wait_recovered()
    last = arena.finish(again)
    how = f"exit code {code} after {ended} s" if code is not None else f"hung for {ended} s"
    return check(arena, last, f"the driver: {how}; restarted: exit code {last}", first_code=code)


def freeze_worker(arena: Arena) -> Score:
    """SIGSTOP of a worker, and SIGCONT after a minute."""
    driver = arena.start()
    arena.wait_line("told", 1)
    frozen = arena.wait_steps(arena.rng.randint(60, 300))
    path = next(step.path for step in reversed(arena.witness.steps()) if step.pid == frozen)
    os.kill(frozen, signal.SIGSTOP)
    noticed = _noticed(arena, path, frozen)
    if psutil.pid_exists(frozen):
        os.kill(frozen, signal.SIGCONT)
    code = arena.finish(driver)
    return check(arena, code, _noticing(noticed), noticed=noticed)


def hang_in_step(arena: Arena) -> Score:
    """An optimiser step never ends; after a minute without help, the user starts again."""
    step = arena.rng.randint(60, STEPS - 1)
    driver = arena.start(faults={"hang": {"step": step}})
    ((_, _, pid),) = arena.wait_line("did", 1)
    path = next(step.path for step in reversed(arena.witness.steps()) if step.pid == int(pid))
    noticed = _noticed(arena, path, int(pid))
    if noticed:
        code = arena.finish(driver)
        return check(arena, code, _noticing(noticed), noticed=noticed)
    arena.wait_line("told", arena.search.trials - 1)
    running = driver.poll() is None
    arena.kill_driver(driver)
    again = arena.start(faults={"hang": {"step": step}})
    arena.wait_recovered()
    code = arena.finish(again)
    words = f"{_noticing(noticed)}; the other trials ended and the search "
    words += "did not, until killed" if running else "ended"
    return check(arena, code, words, noticed=noticed)


def out_of_memory(arena: Arena) -> Score:
    """One model takes more memory than there is, every time that it is tried."""
    arena.search.first = [{"width": 100, "lr": 1e-3}, {"width": 1000, "lr": 1e-3}]
    fault = {"width": 1000, "step": 70, "bytes": 200 << 20}
    code = arena.finish(arena.start(faults={"memory": fault}))
    tries = len([line for line in arena.witness.lines() if line[0] == "did"])
    return check(arena, code, f"tried {tries} times, then state ERROR", tries=tries)


def _noticed(arena: Arena, path: str, pid: int) -> bool:
    """Whether a training that stands still is ended or done elsewhere within the time."""

    def is_replaced() -> bool:
        elsewhere = any(s.path == path and s.pid != pid for s in arena.witness.steps())
        return elsewhere or not psutil.pid_exists(pid)

    try:
        wait_for("it is noticed", is_replaced, NOTICE_SECONDS)
    except AssertionError:
        return False
    return True


def _noticing(noticed: bool) -> str:
    return "noticed" if noticed else f"not noticed within {NOTICE_SECONDS:g} s"
