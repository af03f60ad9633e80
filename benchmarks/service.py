"""Requests a second and latency percentiles of the service with a study of 10,000 trials.

``/health``, which reads nothing, is the baseline for ``/best``. The clients share a process, and
each sends its next request when it has the response. In one row a writer adds trials at the same
time. Creating the study takes about two minutes.

    python benchmarks/service.py [--trials 10000] [--clients 50] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from made_up import fill, result

from search.storage.study import Study

LIMITS = [f"max_size_mb={0.05 * k:.2f}" for k in range(1, 40)]


async def ask(session: aiohttp.ClientSession, paths: list[str], until: float) -> list[float]:
    times = []
    turn = 0
    while time.monotonic() < until:
        started = time.perf_counter()
        async with session.get(paths[turn % len(paths)]) as response:
            await response.read()
            assert response.status == 200, response.status
        times.append(time.perf_counter() - started)
        turn += 1
    return times


async def load_with(url: str, paths: list[str], clients: int, seconds: float) -> list[float]:
    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        until = time.monotonic() + seconds
        several = await asyncio.gather(
            *(ask(session, paths[k:] + paths[:k], until) for k in range(clients))
        )
    return [each for times in several for each in times]


def measure(name: str, url: str, paths: list[str], clients: int, seconds: float) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        times = pool.apply(_measured, (url, paths, clients, seconds))
    cuts = statistics.quantiles(times, n=100)
    print(
        f"{name:34} {len(times) / seconds:8.0f} requests/s   p50 {1e3 * cuts[49]:7.1f} ms   "
        f"p95 {1e3 * cuts[94]:7.1f} ms   p99 {1e3 * cuts[98]:7.1f} ms",
        flush=True,
    )


def _measured(url: str, paths: list[str], clients: int, seconds: float) -> list[float]:
    return asyncio.run(load_with(url, paths, clients, seconds))


def write(home: Path, until: float) -> None:
    """Add a trial a second, as a search does."""
    import random

    rng = random.Random(1)
    study = Study.load("classification", f"sqlite:///{home / 'study.db'}")
    while time.monotonic() < until:
        record = study.ask()
        size = study.space.cost(record.configuration).size_mb
        study.tell_result(record.number, result(rng, size), [])
        time.sleep(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        fill(home, options.trials)
        service = subprocess.Popen(
            [sys.executable, "-m", "search.cli", "serve", "--port", "0",
             "--requests-per-minute", "100000000"],
            env={**os.environ, "TLC_HOME": name, "PYTHONUNBUFFERED": "1", "TLC_TOKEN": ""},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert service.stdout is not None
            found = re.search(r"http://[^ ]+", service.stdout.readline())
            assert found is not None
            run(found[0], home, options.clients, options.seconds, options.trials)
        finally:
            service.terminate()


def run(url: str, home: Path, clients: int, seconds: float, trials: int) -> None:
    print(f"{trials:,} trials, {clients} clients, {os.cpu_count()} cores", flush=True)
    best = [f"/searches/classification/best?{limit}" for limit in LIMITS]
    measure("health", url, ["/health"], clients, seconds)
    measure("best", url, best, clients, seconds)
    writer = multiprocessing.get_context("spawn").Process(
        target=write, args=(home, time.monotonic() + seconds + 2)
    )
    writer.start()
    measure("best, while trials are added", url, best, clients, seconds)
    writer.join()
    page = "/searches/classification/trials?order=size_mb&limit=100"
    measure("trials, a page of 100", url, [page], min(clients, 10), seconds / 2)


if __name__ == "__main__":
    main()
