"""The design space of a search: training runs, and the compressions of what each of them gives.

It is a product, so a space of a million configurations is a thousand runs and a thousand
compressions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from search.arrays import Booleans, Floats, Integers
from spaces.cost.metric import Metric


@dataclass(frozen=True)
class DesignSpace:
    """What can be chosen, and what is known of it before any trial.

    Args:
        runs: Coordinates of each training run, ``(runs, p)``, in doublings.
        architecture: Its architecture, from 0, ``(runs,)``; runs of one share a stable path.
        steps: Its budget, in steps, ``(runs,)``.
        depth: Its layers, ``(runs,)``.
        step_flops: FLOPs of one of its steps, up to a factor, ``(runs,)``.
        compressions: Coordinates of each compression, ``(compressions, q)``; zeros for none.
        log_costs: Logarithm of the inference cost of some runs under every compression,
            ``(len(runs), compressions)``; NaN where there is no such configuration, or where it
            is known to break a constraint.
        limits: Logarithms of the least cost and of the reference point's.
        baseline: Quality of guessing, where that is known.
        is_trained: Which runs have their trained model from an earlier search, ``(runs,)``.
        has_stable_path: Which have their stable path from an earlier search, ``(runs,)``.
        recovery_steps: Steps that some runs train after pruning, under every compression,
            ``(len(runs), compressions)``; none without.
    """

    runs: Floats
    architecture: Integers
    steps: Floats
    depth: Floats
    step_flops: Floats
    compressions: Floats
    log_costs: Callable[[Integers], Floats]
    limits: tuple[float, float]
    baseline: float | None = None
    is_trained: Booleans | None = None
    has_stable_path: Booleans | None = None
    recovery_steps: Callable[[Integers], Floats] | None = None


@dataclass(frozen=True)
class StageSeconds:
    """What a trial took, whoever did it.

    Args:
        stable: The stable path to its budget, from the beginning.
        cooldown: All training after it.
        evaluate: Compression and measurement.
        recovery: Training after pruning.
    """

    stable: float
    cooldown: float
    evaluate: float
    recovery: float = 0.0


class FailureCause(Enum):
    """What a failed trial says of others."""

    MODEL = "the model is bad, and so may others like it be"
    COMPRESSION = "this compression is of no use here, and the model may be good"
    MACHINE = "the model could not be trained here, and nobody knows how good it is"


@dataclass(frozen=True)
class Trial:
    """A finished trial of a design_space.

    Args:
        run: Its training run.
        compression: Its compression.
        quality: What it reached, as the share that the metric makes of its score; None where it
            failed.
        examples: Evaluation examples that it was measured on; None where not known.
        seconds: What it took; None where not known.
        dense: Quality of its model before compression; None where not known.
        cause: Of its failure, where it failed.
    """

    run: int
    compression: int
    quality: float | None
    examples: int | None = None
    seconds: StageSeconds | None = None
    dense: float | None = None
    cause: FailureCause = FailureCause.MODEL

    @property
    def is_informative(self) -> bool:
        """Whether it tells what quality others may have."""
        return self.quality is not None or self.cause is FailureCause.MODEL

    @classmethod
    def of_result(
        cls, run: int, compression: int, quality: float, result: dict[str, Any], metric: Metric
    ) -> Trial:
        """A trial with the result that a study has of it."""
        seconds, dense = result.get("seconds"), result.get("dense_score")
        return cls(
            run,
            compression,
            quality,
            examples=result.get("examples"),
            dense=None if dense is None else metric.quality(dense),
            seconds=None
            if seconds is None
            else StageSeconds(
                stable=seconds["stable"],
                cooldown=seconds["cooldown"],
                evaluate=seconds["compress"] + seconds["measure"],
                recovery=seconds.get("recovery", 0.0),
            ),
        )
