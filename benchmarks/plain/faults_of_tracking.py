"""Faults 13 and 14: MLflow's server is away, or its replies are lost."""

from __future__ import annotations

import contextlib
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from plain.arena import Arena
from plain.checker import Score, check, mlflow_runs
from tests.faults.ports import free_port
from tests.faults.processes import kill, wait_for
from tests.faults.proxy import Proxy

OUTAGE_SECONDS = 20.0


@contextmanager
def tracking_server(arena: Arena) -> Iterator[Proxy]:
    """MLflow's server on a database of the arena, which the search reaches through a proxy."""
    port = free_port()
    proxy = Proxy(port)
    arena.spawn(
        [
            sys.executable, "-m", "mlflow", "server",
            "--backend-store-uri", f"sqlite:///{arena.folder / 'mlflow.db'}",
            "--artifacts-destination", str(arena.folder / "artifacts"),
            "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--allowed-hosts", f"127.0.0.1:{port},127.0.0.1:{proxy.port}",
        ],
        arena.environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
    )  # fmt: skip
    try:
        wait_for("MLflow's server answers", lambda: _is_up(port), 120)
        arena.search.tracking_uri = f"http://127.0.0.1:{proxy.port}"
        yield proxy
    finally:
        proxy.close()


def _is_up(port: int) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
        return True
    return False


def tracking_away(arena: Arena) -> Score:
    """MLflow's server is away for 20 seconds, in which a worker dies."""
    arena.search.trials = 10
    with tracking_server(arena) as proxy:
        driver = arena.start()
        arena.wait_line("told", 2)
        usual = _steps_a_second(arena, OUTAGE_SECONDS)
        proxy.leave()
        during = _steps_a_second(arena, OUTAGE_SECONDS / 2)
        kill(arena.witness.steps()[-1].pid)
        during = (during + _steps_a_second(arena, OUTAGE_SECONDS / 2)) / 2
        proxy.come_back()
        arena.wait_recovered()
        code = arena.finish(driver, 300.0)
        fall = 100 * (1 - during / usual)
        return check(
            arena,
            code,
            f"steps a second fell by {fall:.0f} %, from {usual:.0f} to {during:.0f}",
            step_rate_before=round(usual, 1),
            step_rate_during=round(during, 1),
        )


def _steps_a_second(arena: Arena, seconds: float) -> float:
    before = len(arena.witness.steps())
    started = time.monotonic()
    time.sleep(seconds)
    return (len(arena.witness.steps()) - before) / (time.monotonic() - started)


def lost_replies(arena: Arena) -> Score:
    """MLflow does what it is asked, and its replies are lost: of two runs and of two metrics."""
    with tracking_server(arena) as proxy:
        proxy.lose_replies("/runs/create", times=2)
        proxy.lose_replies("/runs/log-metric", times=2)
        code = arena.finish(arena.start())
        runs = mlflow_runs(arena)
        rows = sum(run["metric_rows"] for run in runs)
        reports = sum(line[0] == "saved" for line in arena.witness.lines())
        return check(
            arena,
            code,
            f"{len(runs)} runs of {len({run['trial'] for run in runs})} trials",
            replies_lost=proxy.lost,
            rows_of_a_metric=rows,
            reports=reports,
        )
