"""Faults 13 and 14: MLflow's server is away, or its replies are lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from plain.arena import Arena
from plain.checker import Score, check, mlflow_runs
from tests.faults.processes import kill
from tests.faults.proxy import Proxy
from tests.faults.tracking import proxied_server

OUTAGE_SECONDS = 20.0


@contextmanager
def tracking_server(arena: Arena) -> Iterator[Proxy]:
    """MLflow's server on a database of the arena, which the search reaches through a proxy."""
    database = arena.folder / "mlflow.db"
    with proxied_server(database, arena.folder, arena.environment()) as proxy:
        arena.search.tracking_uri = f"http://127.0.0.1:{proxy.port}"
        yield proxy


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
