"""What is measured before the first trial: speeds of training, where budgets are in seconds, and
what a search limits or weighs and arithmetic does not know, such as latencies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from search.execution.cluster import bundle
from search.execution.listener import Listener
from search.execution.trainable import RemoteFunctions, untrained_costs
from search.execution.worker_setup import WorkerSetup
from search.samplers.known_speeds import check_budgets, known_speeds
from search.samplers.measured_costs import costs_to_measure, measured_costs
from search.storage.study import Study
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.units import BudgetUnit
from spaces.file.resources import Placement

if TYPE_CHECKING:
    from objectives.measurement.slowdown import MeasuredCost

LONGEST_SECONDS = 600.0
"""For one architecture, with the start of its workers."""


def with_speeds(setup: WorkerSetup, study: Study, listener: Listener) -> WorkerSetup:
    """A setup with the speeds of a study, which are measured where it has none.

    Raises:
        UserError: No model can be trained, or no budget buys enough steps.
    """
    space, search = study.space, study.search
    if space.schedule.unit is not BudgetUnit.SECONDS:
        return setup
    recorded = study.speeds.all()
    if any(architecture not in recorded for architecture in space.architectures()):
        started = time.monotonic()
        listener.info("measuring the speed of training of untrained models …")
        meters = _Meters(setup, search.placement)
        try:
            study.record_speeds(
                known_speeds(space, meters.measure, listener.warn, recorded.values())
            )
        finally:
            meters.close()
        listener.info(f"speeds known ({time.monotonic() - started:.1f} s)")
    check_budgets(space, listener.info)
    speeds = [(each.architecture, each.steps_per_second) for each in study.speeds.all().values()]
    return replace(setup, speeds=tuple(speeds))


def measure_costs(study: Study, remote: RemoteFunctions, listener: Listener) -> None:
    """Measure what the search limits or weighs, before anything is trained.

    Raises:
        UserError: No model meets a limit.
    """
    nouns = ", ".join(cost.noun for cost in costs_to_measure(study.space))
    if not nouns:
        return
    started = time.monotonic()
    listener.info(f"measuring untrained models: {nouns} …")

    def measure(cost: str, configurations: list[Configuration]) -> list[MeasuredCost]:
        import ray

        named = [(cost, configuration.to_dict()) for configuration in configurations]
        measured: list[MeasuredCost] = ray.get(remote.submit(untrained_costs, named))
        return measured

    study.space.measured = measured_costs(study, measure, listener.info)
    listener.info(f"known: {nouns} ({time.monotonic() - started:.1f} s)")


class _Meters:
    """Measures speeds where trials would train, one after another.

    Args:
        placement_of: Resources of an architecture; its workers stay for the next one.
    """

    def __init__(
        self, setup: WorkerSetup, placement_of: Callable[[Architecture], Placement]
    ) -> None:
        self._setup = setup
        self._placement_of = placement_of
        self._placement: Placement | None = None
        self._group: Any = None
        self._meter: Any = None

    def measure(self, architecture: Architecture) -> dict[str, Any]:
        """The speed of an architecture, or a ``failure``."""
        import ray

        placement = self._placement_of(architecture)
        if self._meter is None or placement != self._placement:
            self._start(placement)
        try:
            measured: dict[str, Any] = ray.get(
                self._meter.measure.remote(architecture), timeout=LONGEST_SECONDS
            )
        except (ray.exceptions.RayError, TimeoutError) as error:
            # Its process may have died, of a lack of memory: the next one gets another.
            self.close()
            return {"failure": str(error).strip().splitlines()[-1]}
        return measured

    def _start(self, placement: Placement) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self.close()
        wanted = bundle(placement)
        self._group = ray.util.placement_group([wanted] * placement.workers)
        self._placement = placement
        actor = ray.remote(_Meter).options(
            num_cpus=wanted["CPU"],
            num_gpus=wanted.get("GPU", 0.0),
            memory=wanted.get("memory"),
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=0
            ),
        )
        self._meter = actor.remote(self._setup)

    def close(self) -> None:
        """End the workers."""
        import ray

        if self._meter is not None:
            ray.kill(self._meter)
            ray.util.remove_placement_group(self._group)
            self._meter = None


class _Meter:
    """The process that measures; it leads a worker for each bundle of its group."""

    def __init__(self, setup: WorkerSetup) -> None:
        from search.execution.distributed import make_objective

        self._objective = make_objective(setup)

    def measure(self, architecture: Architecture) -> dict[str, Any]:
        """A ``TrainingSpeed`` as plain values."""
        speed = self._objective.speed_of(architecture)
        return {**asdict(speed), "is_noisy": speed.is_noisy}
