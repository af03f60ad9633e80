"""What runs in Ray's workers, where the objective is loaded once, and the tasks that call it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from objectives.failures import TrialFailure, WorkerGroupLost, short_traceback
from search.execution.cluster import bundle
from search.execution.trial_retries import RETRIED_STATES
from search.execution.worker_setup import WorkerSetup
from search.process_state import collection_paused
from search.storage.states import ERROR
from spaces.cost.configuration import Configuration
from spaces.file.resources import Placement

if TYPE_CHECKING:
    from objectives.measurement.evaluation import Evaluation
    from objectives.measurement.slowdown import MeasuredCost
    from objectives.several_checkpoints import Objectives

T = TypeVar("T")

LONGEST_CURVE = 60

log = logging.getLogger(__name__)


class RemoteFunctions:
    """Runs the functions of this module as Ray tasks.

    Args:
        setup: What their workers make the objective from.
        resources: What a task occupies, but for the GPUs.
    """

    def __init__(self, setup: WorkerSetup, resources: Placement) -> None:
        self.setup = setup
        names = {"CPU": "num_cpus", "memory": "memory"}
        wanted = bundle(resources)
        self._options = {name: wanted[kind] for kind, name in names.items() if kind in wanted}

    def submit(
        self,
        function: Callable[[WorkerSetup, list[Any]], list[Any]],
        items: list[Any],
        *,
        gpus: float = 0.0,
    ) -> Any:
        """Start a task, with GPUs where it scores models; returns Ray's reference to its result."""
        import ray

        return ray.remote(num_gpus=gpus, **self._options)(function).remote(self.setup, items)

    def over_configurations(
        self, function: Callable[[WorkerSetup, list[dict[str, Any]]], list[T]]
    ) -> Callable[[list[Configuration]], list[T]]:
        """A function of configurations that runs one task and waits for it."""

        def call(configurations: list[Configuration]) -> list[T]:
            import ray

            points = [configuration.to_dict() for configuration in configurations]
            result: list[T] = ray.get(self.submit(function, points))
            return result

        return call


@lru_cache(maxsize=1)
def _objective(setup: WorkerSetup) -> Objectives:
    """The objective of a search, kept while the process lives: trials share its data and model."""
    with collection_paused():
        from search.execution.distributed import make_objective

    return make_objective(setup)


def evaluate(setup: WorkerSetup, configurations: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Evaluate configurations one after another; a failure comes as a named state.

    Neighbours that share their training share the model in memory. After an unexpected error, or
    lack of memory, a trial is repeated from the last checkpoint (``WorkerSetup.retries``). Ray
    detects the death of the process.

    Yields:
        For each, ``state`` and, where it is ``complete``, ``result`` and ``curve``; else
        ``message`` and ``traceback``. Also ``damaged``: damaged entries of the store.
    """
    left = [Configuration.from_dict(values) for values in configurations]
    failed = Counter[str]()
    while left:
        for report in _attempt(setup, left):
            state = report["state"]
            if state in RETRIED_STATES and failed[state] < getattr(setup.retries, state):
                log.warning("an attempt failed: %s", report["traceback"] or report["message"])
                failed[state] += 1
                # Leaving the loop frees what the attempt holds before the next one.
                break
            left.pop(0)
            failed.clear()
            yield report


def _attempt(setup: WorkerSetup, configurations: list[Configuration]) -> Iterator[dict[str, Any]]:
    """Reports on configurations in their order, up to an unexpected error."""
    try:
        objective = _objective(setup)
        for _, outcome in objective.evaluate_each(list(configurations)):
            yield {**_report(outcome), "damaged": objective.pop_damaged()}
    except WorkerGroupLost:
        # This process ends with its workers; another one resumes the job.
        raise
    except Exception as error:
        # Whatever a library raises fails this trial alone; the search continues.
        message = f"{type(error).__name__}: {error}"
        yield {"state": ERROR, "message": message, "traceback": short_traceback(error)}


def untrained_costs(
    setup: WorkerSetup, named: list[tuple[str, dict[str, Any]]]
) -> list[MeasuredCost]:
    """Measured costs, each by its name and the configuration, of untrained models or cached."""
    objective = _objective(setup)
    return [objective.untrained_cost(name, Configuration.from_dict(point)) for name, point in named]


def stored(setup: WorkerSetup, configurations: list[dict[str, Any]]) -> list[tuple[bool, bool]]:
    """Whether the store has the final model and the stable path of configurations."""
    points = list(map(Configuration.from_dict, configurations))
    return _objective(setup).stored_training(points)


def _report(outcome: Evaluation | TrialFailure) -> dict[str, Any]:
    if isinstance(outcome, TrialFailure):
        return {
            "state": outcome.state, "message": outcome.message, "traceback": outcome.traceback,
            "latency": outcome.latency,
        }  # fmt: skip
    result = outcome.to_dict()
    stages = result["stages"]
    result["stages"] = [
        {name: value for name, value in stage.items() if name != "curve"} for stage in stages
    ]
    return {"state": "complete", "result": result, "curve": curve(stages)}


def test_scores(setup: WorkerSetup, models: list[str]) -> list[dict[str, Any]]:
    """Score stored models on the test split.

    Returns:
        For each, ``score``, its interval, ``examples`` and ``loss``; or ``state`` and ``message``,
        with the state ``error`` where a retry may succeed.
    """
    return [_test_score(_objective(setup), model) for model in models]


def references(setup: WorkerSetup, splits: list[str]) -> list[dict[str, Any]]:
    """The references of the task with their scores on some splits.

    Returns:
        What ``Objective.references`` returns; or one ``state`` with its ``message``.
    """
    try:
        return _objective(setup).references(splits)
    except Exception as error:
        # Whatever a library raises does not end the search.
        return [{"state": ERROR, "message": short_traceback(error)}]


def _test_score(objective: Objectives, model: str) -> dict[str, Any]:
    try:
        score = objective.test(model)
    except TrialFailure as failure:
        return {"state": failure.state, "message": failure.message}
    except Exception as error:
        # Whatever a library raises fails this model alone.
        return {"state": ERROR, "message": short_traceback(error)}
    return {
        "score": score.value,
        "score_low": score.low,
        "score_high": score.high,
        "examples": score.examples,
        "loss": score.loss,
    }


def curve(stages: list[dict[str, Any]]) -> list[list[float]]:
    """The training loss over the steps of all stages, thinned to what a plot needs."""
    points: list[list[float]] = []
    before = 0
    for stage in stages:
        points.extend([before + step, loss] for step, loss in stage["curve"])
        before += stage["steps"]
    stride = -(-len(points) // LONGEST_CURVE) or 1
    return points[::stride]
