"""Noisy latencies are recognised, and not kept."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.measurement import latency_cache
from objectives.measurement.latency import BLOCK_CALLS, WARM_UP, Latency, is_noisy, measure_latency
from objectives.measurement.slowdown import ReferenceTimes, restated
from objectives.objective import Objective
from objectives.store import heartbeat
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

BASE = Configuration(Architecture.of(1, 32), 40, Compression())


def times(count: int, low: float, rng: random.Random) -> list[float]:
    """Times on a quiet machine: a few per cent above the lowest, occasionally far above."""
    return [low * (1 + rng.random() / 10) * (5 if rng.random() < 0.05 else 1) for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_quiet_machine_is_not_called_noisy(seed: int) -> None:
    rng = random.Random(seed)
    model, reference = times(40, 0.3, rng), times(40, 1.0, rng)
    assert not is_noisy(model, reference, math.inf)
    assert not is_noisy(model, reference, 0.95)


@pytest.mark.parametrize("seed", range(20))
def test_each_kind_of_noise_is_recognised(seed: int) -> None:
    rng = random.Random(seed)
    model, reference = times(40, 0.3, rng), times(40, 1.0, rng)
    # Half of the calls are interrupted.
    interrupted = [t * (8 if k % 5 < 3 else 1) for k, t in enumerate(reference)]
    assert is_noisy(model, interrupted, math.inf)
    # The model alone is slower in the second half.
    assert is_noisy([t * (1 + k // 20) for k, t in enumerate(model)], reference, math.inf)
    # Everything is slower than at its best.
    assert is_noisy(model, reference, 0.7)


def taken(**fields: Any) -> Latency:
    return Latency(
        **{
            "min_ms": 1.5, "p10_ms": 3.0, "p50_ms": 9.0, "p95_ms": 30.0, "spread": 3.0,
            "reference_min_ms": 1.0, "reference_p10_ms": 1.5, "reference_p50_ms": 4.0,
            "best_reference_min_ms": 1.0, "best_reference_p10_ms": 1.0, "conditions": "here",
            "noisy": True, "batch_size": 1, "sequence_length": 16,
            "threads": 1, "repeats": 40, "warm_up": 5, "device": "cpu", "processor": "", **fields,
        }
    )  # fmt: skip


def test_a_latency_is_scaled_to_the_machines_best_speed() -> None:
    assert taken().corrected_ms == 2.0
    assert taken(reference_p10_ms=1.0).corrected_ms == 3.0


def test_no_correction_goes_below_the_fastest_call_at_the_machines_best_speed() -> None:
    assert taken(min_ms=2.5).corrected_ms == 2.5
    # A host that was slow throughout slowed the fastest calls of both models too.
    assert taken(min_ms=2.5, reference_min_ms=1.25).corrected_ms == 2.0
    assert taken(min_ms=2.9, reference_min_ms=1.25).corrected_ms == pytest.approx(2.9 / 1.25)


def test_a_record_is_restated_by_a_reference_that_was_faster_later() -> None:
    latency = {**asdict(taken(noisy=False, reference_p10_ms=1.2)), "slowdown": 1.2}
    recorded = {"latency": latency, "latency_ms": 2.5, "score": 0.5}
    now = restated(recorded, {"here": ReferenceTimes(p10_ms=0.8, min_ms=0.7)})
    assert (now["latency_ms"], now["score"]) == (pytest.approx(2.0), 0.5)
    corrected = now["latency"]
    assert (corrected["slowdown"], corrected["noisy"]) == (pytest.approx(1.5), True)
    changed = {name for name, value in latency.items() if corrected[name] != value}
    assert changed == {"best_reference_min_ms", "best_reference_p10_ms", "slowdown", "noisy"}


class Sleeper(nn.Module):
    """A model whose calls take some milliseconds, and are counted in one list for all."""

    def __init__(self, name: str, milliseconds: float, calls: list[str]) -> None:
        super().__init__()
        self.name, self.milliseconds, self.calls = name, milliseconds, calls

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.calls.append(self.name)
        time.sleep(self.milliseconds / 1000)
        return rows


@pytest.mark.parametrize(("milliseconds", "block"), [(0.0, BLOCK_CALLS), (15.0, 1)])
def test_models_alternate_in_blocks_with_heartbeats(milliseconds: float, block: int) -> None:
    calls: list[str] = []
    model, reference = Sleeper("m", milliseconds, calls), Sleeper("r", 0.0, calls)
    beats: list[str] = []
    with heartbeat.listening(lambda what, is_paused: beats.append(what)):
        latency = measure_latency(
            model, reference, {"rows": torch.ones(1, 4)}, sequence_length=4, threads=1, repeats=10
        )
    runs = [(name, len(list(group))) for name, group in groupby(calls[2 * WARM_UP :])]
    assert set(runs) == {("r", BLOCK_CALLS), ("m", block)}
    assert latency.repeats >= 10
    assert latency.min_ms <= latency.p10_ms
    assert latency.reference_min_ms <= latency.reference_p10_ms
    # One for each block, and in between where a call is long.
    assert beats.count("measuring latency") >= len(runs) / 2


@pytest.fixture
def gives(monkeypatch: pytest.MonkeyPatch) -> list[Latency]:
    """The results of the next measurements; the last one is repeated."""
    given: list[Latency] = []

    def measure(*_: Any, best_reference: ReferenceTimes, **__: Any) -> Latency:
        latency = given.pop(0) if len(given) > 1 else given[0]
        own = ReferenceTimes(latency.reference_p10_ms, latency.reference_min_ms)
        best = best_reference.with_faster(own)
        return replace(
            latency, best_reference_p10_ms=best.p10_ms, best_reference_min_ms=best.min_ms
        )

    monkeypatch.setattr(latency_cache, "measure_latency", measure)
    return given


@pytest.mark.usefixtures("home")
def test_a_noisy_latency_is_measured_again(
    make_search: Callable[..., SearchFile], gives: list[Latency]
) -> None:
    gives += [taken(), taken(p10_ms=2.5), taken(p10_ms=2.0, noisy=False, reference_p10_ms=1.0)]
    gives.append(taken(p10_ms=9.0))
    found = [Objective(make_search()).latency_cache.of_untrained(BASE) for _ in range(5)]
    assert [latency.p10_ms for latency in found] == [3.0, 2.5, 2.0, 2.0, 2.0]
    assert [latency.noisy for latency in found] == [True, True, False, False, False]


@pytest.mark.usefixtures("home")
def test_a_latency_of_an_evenly_slow_machine_is_measured_again(
    make_search: Callable[..., SearchFile], gives: list[Latency]
) -> None:
    other = replace(BASE, architecture=Architecture.of(2, 32))
    gives += [
        taken(p10_ms=3.0, noisy=False, reference_p10_ms=1.5),
        taken(p10_ms=4.0, noisy=False, reference_p10_ms=1.0),
        taken(p10_ms=2.0, noisy=False, reference_p10_ms=1.01),
    ]
    cache = Objective(make_search()).latency_cache
    assert cache.of_untrained(BASE).corrected_ms == 3.0
    assert cache.of_untrained(other).corrected_ms == 4.0
    assert cache.of_untrained(BASE).corrected_ms == pytest.approx(2.0 / 1.01)
    assert cache.of_untrained(other).corrected_ms == 4.0


@pytest.mark.usefixtures("home")
def test_the_record_says_whether_it_is_noisy(
    make_search: Callable[..., SearchFile], gives: list[Latency]
) -> None:
    gives.append(taken())
    result = json.loads(json.dumps(Objective(make_search()).evaluate(BASE).to_dict()))
    assert (result["latency"]["noisy"], result["latency_ms"]) == (True, 3.0)


def test_the_best_latency_of_the_reference_is_stored(
    make_search: Callable[..., SearchFile], home: Path, gives: list[Latency]
) -> None:
    gives.append(taken(noisy=False, reference_p10_ms=1.5))
    Objective(make_search()).latency_cache.of_untrained(BASE)
    (best,) = home.rglob("best_reference.json")
    assert json.loads(best.read_text()) == {"p10_ms": 1.5, "min_ms": 1.0}
