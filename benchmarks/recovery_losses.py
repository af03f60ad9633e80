"""Recovery from labels, and from the model before compression, at equal steps and equal FLOPs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean, stdev

from scipy.stats import t

from objectives.measurement.evaluation import Evaluation
from objectives.objective import Objective
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.file.training import RecoveryDistillation

COMPARED = (Compression(sparsity=0.5), Compression(Quantisation.RTN_2))
WAYS = {
    "the labels": None,
    "the model before": RecoveryDistillation(),
    "the model before, at a temperature of 2": RecoveryDistillation(temperature=2.0),
    "half of each": RecoveryDistillation(weight=0.5),
}
"""What recovery learns from."""


def compare_recoveries(
    search: SearchFile, trained: Configuration, fraction: float, seeds: int
) -> None:
    """Print what is left of the added loss, by what recovery learns from.

    Args:
        trained: The model, without compression.
        fraction: Recovery as a fraction of the budget.
        seeds: Seeds of training; each has a model of its own, which all recoveries start from.
    """
    steps = int(fraction * trained.budget)
    print(
        f"\n| compression | recovery from | {trained.budget:g} + | added loss, {seeds} seeds "
        "| less than from the labels (95 % interval over seeds) | s |\n|" + " --- |" * 6
    )
    for compression in COMPARED:
        of_labels: list[float] = []
        for name, length, objective in _ways(search, steps):
            found = [
                objective.evaluate(
                    trained.with_seed(search.seed + seed).with_compression(
                        replace(compression, recovery=float(length))
                    )
                )
                for seed in range(seeds)
            ]
            added = [each.loss - each.dense_loss for each in found]
            of_labels = of_labels or added
            gains = [one - other for one, other in zip(of_labels, added, strict=True)]
            print(
                f"| {compression} | {name} | {length} | {fmean(added):+.4f} | {_interval(gains)} "
                f"| {fmean(map(_seconds, found)):.1f} |",
                flush=True,
            )


def _ways(search: SearchFile, steps: int) -> Iterator[tuple[str, int, Objective]]:
    """What recovery learns from, in how many steps of the budget's unit."""
    usual = search.schedule
    for name, settings in WAYS.items():
        training = search.training.model_copy(update={"recovery_distillation": settings})
        way = search.model_copy(update={"training": training})
        objective = Objective(way)
        yield name, steps, objective
        if settings == RecoveryDistillation():
            passes = way.schedule.teacher_factor / usual.task_passes
            yield f"{name}, equal FLOPs", int(steps / passes), objective


def _interval(gains: list[float]) -> str:
    """Mean of some differences, with its interval where there are several."""
    mean = fmean(gains)
    if len(gains) < 2 or not any(gains):
        return f"{mean:+.4f}"
    half = t.ppf(0.975, len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def _seconds(found: Evaluation) -> float:
    return found.seconds["recovery"]
