"""Fault 11: other programs load all cores in bursts while latencies are measured."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objectives.measurement.latency import Latency
from objectives.measurement.slowdown import MAX_SLOWDOWN, ReferenceTimes
from objectives.objective import Objective
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.loading import validate

ARCHITECTURES = (Architecture.of(1, 32), Architecture.of(3, 96), Architecture.of(6, 192))
BURN = """
import random, sys, time
rng = random.Random(int(sys.argv[1]))
print(flush=True)
while True:
    until = time.monotonic() + rng.uniform(0.02, 0.4)
    while time.monotonic() < until:
        sum(range(2000))
    time.sleep(rng.uniform(0.0, 0.3))
"""


@contextmanager
def burners(count: int, rng: random.Random) -> Iterator[None]:
    """Processes that each load a core in bursts."""
    seeds = (str(rng.randrange(10**6)) for _ in range(count))
    started = [
        subprocess.Popen([sys.executable, "-c", BURN, each], stdout=subprocess.PIPE)
        for each in seeds
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture
def objective(document: dict[str, Any], home: Path) -> Objective:
    """A search with the default number of timed calls."""
    return Objective(validate({**document, "measurement": {"repeats": 40}}))


def latencies(objective: Objective) -> list[Latency]:
    """Latencies of the three models with an empty cache; the reference of the machine is kept."""
    for entry in Path(objective.store.location("costs")).glob("*/latency.json"):
        shutil.rmtree(entry.parent)
    made = (Configuration(each, 100, Compression()) for each in ARCHITECTURES)
    return [objective.latency_cache.of_untrained(configuration) for configuration in made]


def kept(objective: Objective) -> int:
    return len(list(Path(objective.store.location("costs")).glob("*/latency.json")))


def test_models_keep_their_order_or_are_flagged(
    objective: Objective, seed: int, record_property: Any
) -> None:
    idle = latencies(objective)
    with burners(2 * (os.cpu_count() or 1), random.Random(seed)):
        disturbed = latencies(objective)
    for state, found in (("idle", idle), ("disturbed", disturbed)):
        for latency in found:
            print(
                f"{state:>9} {latency.corrected_ms:6.3f} ms: p10 {latency.p10_ms:6.3f}, p50 "
                f"{latency.p50_ms:6.3f}, p95 {latency.p95_ms:6.2f}, slowdown "
                f"{latency.slowdown:.2f} of {latency.reference_p10_ms:.3f} ms, "
                f"{latency.repeats} calls{', noisy' * latency.noisy}"
            )
    # The load did disturb the measurements.
    assert sum(each.p95_ms for each in disturbed) > 2 * sum(each.p10_ms for each in disturbed)
    # A host that was slow throughout is detected once it is faster; the cache then measures again.
    usual = ReferenceTimes(*map(min, *(each.best_reference for each in (*idle, *disturbed))))
    before, after = (
        [
            replace(each, best_reference_p10_ms=usual.p10_ms, best_reference_min_ms=usual.min_ms)
            for each in found
        ]
        for found in (idle, disturbed)
    )
    # Models with clearly different latencies keep their order, flagged or not.
    assert [each.corrected_ms for each in before] == sorted(each.corrected_ms for each in before)
    assert [each.corrected_ms for each in after] == sorted(each.corrected_ms for each in after)
    # Latencies without a flag are unchanged.
    for pair in zip(before, after, strict=True):
        if not any(each.noisy or each.slowdown > MAX_SLOWDOWN for each in pair):
            assert 1 / MAX_SLOWDOWN < pair[1].corrected_ms / pair[0].corrected_ms < MAX_SLOWDOWN
    # Flagged latencies are measured again.
    assert kept(objective) == sum(not latency.noisy for latency in disturbed)
    record_property("flagged", sum(latency.noisy for latency in disturbed))
