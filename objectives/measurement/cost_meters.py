"""The costs of a search that are measured and not computed, and their limits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from torch import nn

from objectives.data.batches import Batch
from objectives.failures import TrialFailure
from objectives.measurement.latency import Latency
from objectives.measurement.latency_cache import LatencyCache
from objectives.measurement.slowdown import LATENCY, MeasuredCost
from objectives.measurement.timed import FirstToken, ForwardPass, FurtherTokens, Timed
from objectives.memory.meter import MemoryMeter
from objectives.models.decoding import Decoding
from spaces.cost.configuration import Configuration
from spaces.cost.inference_cost import COSTS


class CostMeter(Protocol):
    """Measures one cost: a time, or a number that needs no correction.

    Both methods may return what is cached of a model of these shapes, and raise ``TrialFailure``.
    """

    def of_model(
        self, configuration: Configuration, model: nn.Module, stored: Path
    ) -> Latency | float:
        """The cost of a compressed model, as it was loaded from a folder."""

    def of_untrained(self, configuration: Configuration) -> Latency | float:
        """The cost of a configuration, from an untrained model."""


def meters_of(
    costs: Collection[str],
    latency: LatencyCache,
    *,
    large_batch: Callable[[], Batch],
    decoding: Callable[[], Decoding],
) -> dict[str, CostMeter]:
    """What measures the costs of a search, by name.

    Args:
        costs: Names of all costs of the search.
        latency: That of a forward pass, which every search measures.
        large_batch: Arguments of the forward pass that ``example_ms`` times.
        decoding: The text that the costs of decoding time.
    """
    timed: dict[str, Callable[[], Timed]] = {
        "first_token_ms": lambda: FirstToken(decoding()),
        "token_ms": lambda: FurtherTokens(decoding()),
        "example_ms": lambda: ForwardPass(large_batch(), per_example=True),
    }
    named: dict[str, CostMeter] = {
        name: replace(latency, timed=timed[name]()) for name in timed if name in costs
    }
    if "memory_mb" in costs:
        named["memory_mb"] = MemoryMeter(
            latency.workload, latency.conditions, latency.inputs, latency.calibration, latency.store
        )
    return {LATENCY: latency, **named}


class CostMeters:
    """The measured costs of a search.

    Args:
        meters: What measures each, by the name of the cost; latency among them.
        limits: Highest allowed value of each limited cost, by name.
    """

    def __init__(self, meters: Mapping[str, CostMeter], limits: Mapping[str, float]) -> None:
        self._meters = meters
        self._limits = limits

    def of_model(
        self, configuration: Configuration, model: nn.Module, stored: Path
    ) -> dict[str, Latency | float]:
        """The costs of a compressed model that only some searches have, by name."""
        return {
            name: meter.of_model(configuration, model, stored)
            for name, meter in self._meters.items()
            if COSTS[name].is_optional
        }

    def of_untrained(self, name: str, configuration: Configuration) -> MeasuredCost:
        """One cost of a configuration, from an untrained model."""
        measured = self._meters[name].of_untrained(configuration)
        return measured.times if isinstance(measured, Latency) else measured

    def check_limits(self, configuration: Configuration) -> None:
        """Refuse a configuration whose untrained model exceeds a limit.

        Raises:
            TrialFailure: It is too slow, or exceeds another limit (``over_limit``).
        """
        for name, meter in self._meters.items():
            if name not in self._limits:
                continue
            measured, limit, cost = (
                meter.of_untrained(configuration),
                self._limits[name],
                COSTS[name],
            )
            value = measured.corrected_ms if isinstance(measured, Latency) else measured
            if value <= limit:
                continue
            text = f"{configuration}: {cost.noun} {cost.text(value)}, more than {cost.text(limit)}"
            if not isinstance(measured, Latency):
                raise TrialFailure("over_limit", text)
            noisy = ", measured on a noisy machine" if measured.noisy else ""
            times = {**measured.times._asdict(), "cost": name}
            raise TrialFailure("too_slow", f"{text}{noisy}", latency=times)
