"""Noisy latencies are recognised, and not kept."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objectives.measurement import latency_cache
from objectives.measurement.latency import Latency, is_noisy
from objectives.objective import Objective
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
            "p10_ms": 3.0, "p50_ms": 9.0, "p95_ms": 30.0, "spread": 3.0, "reference_p10_ms": 1.5,
            "reference_p50_ms": 4.0, "best_reference_p10_ms": 1.0, "noisy": True, "batch_size": 1,
            "sequence_length": 16, "threads": 1, "repeats": 40, "warm_up": 5, "device": "cpu",
            "processor": "", **fields,
        }
    )  # fmt: skip


def test_a_latency_is_scaled_to_the_machines_best_speed() -> None:
    assert taken().corrected_ms == 2.0
    assert taken(reference_p10_ms=1.0).corrected_ms == 3.0


@pytest.fixture
def gives(monkeypatch: pytest.MonkeyPatch) -> list[Latency]:
    """The results of the next measurements; the last one is repeated."""
    given: list[Latency] = []

    def measure(*_: Any, best_reference_ms: float, **__: Any) -> Latency:
        latency = given.pop(0) if len(given) > 1 else given[0]
        return replace(
            latency, best_reference_p10_ms=min(best_reference_ms, latency.reference_p10_ms)
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
    assert json.loads(best.read_text()) == {"p10_ms": 1.5}
