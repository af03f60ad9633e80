"""Trained models and their compressions as plain values, on which the claims are tested."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.storage.references import ReferenceRecord
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.families import layout
from spaces.cost.metric import FROM_ZERO, OF_WRITTEN_TEXTS, Metric
from spaces.errors import UserError
from spaces.grid.search_space import SearchSpace

UNDECAYED = "tlc:undecayed"
"""Attribute of the study: by the hash of a configuration, the validation loss of its model before
the decay, dense and compressed."""
AT_KNOWN_SPEED = ("stable", "decay")
"""Stages whose speed is measured before a search with budgets in seconds."""
STANDARD_ERRORS = 2 * 1.96
"""Width of a 95 % interval, in standard errors."""


@dataclass(frozen=True)
class Run:
    """One trained model before compression.

    Args:
        budget: Its training, in the search's unit.
        steps: Optimiser steps of its budget, fine-tuning apart.
        training_flops: FLOPs of its whole training.
        seconds: Seconds of its whole training, whichever trials ran it; of a budget in seconds, at
            the speed that was measured before the search.
        layer_parameters: Those of its layers, embeddings and head apart.
        size_bytes: On disk, fp32.
        loss: Validation cross-entropy, in nats.
        quality: Fraction of the way from guessing (0) to perfection (1).
        quality_error: Its standard error over validation examples.
    """

    architecture: Architecture
    budget: float
    seed: int
    steps: int
    training_flops: float
    seconds: float
    parameters: int
    layer_parameters: int
    size_bytes: int
    loss: float
    quality: float
    quality_error: float

    @property
    def cell(self) -> tuple[Architecture, float]:
        """What its replicates with other seeds have in common with it."""
        return self.architecture, self.budget


@dataclass(frozen=True)
class Compressed:
    """One trained model after compression; sizes and quality as those of ``Run``.

    Args:
        run: The model before.
        training_flops: FLOPs of its whole training, recovery included; ``seconds`` likewise.
        cost: Loss that the compression adds, in nats.
        undecayed_cost: The same of the model before the decay of its learning rate; NaN where it
            was not measured.
    """

    run: Run
    compression: Compression
    size_bytes: int
    training_flops: float
    seconds: float
    quality: float
    cost: float
    undecayed_cost: float = math.nan

    @property
    def is_compressed(self) -> bool:
        """Whether it was quantised or pruned."""
        return self.compression.quantisation.bits < 32 or self.compression.sparsity > 0


@dataclass(frozen=True)
class Observations:
    """The measurements of one search, or of several that differ only in their seed.

    Args:
        names: Of the searches.
        runs: Every trained model.
        compressed: Every compression of them.
        references: Baselines on the same data, which every model must be compared with.
    """

    names: tuple[str, ...]
    metric: Metric
    runs: tuple[Run, ...]
    compressed: tuple[Compressed, ...]
    references: tuple[ReferenceRecord, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of training, ascending."""
        return tuple(sorted({run.seed for run in self.runs}))


def observe(studies: Sequence[Study]) -> Observations:
    """The measurements of searches of the same space.

    Raises:
        UserError: They differ in more than the seed, share a seed of training, or choose among
            several checkpoints or settings of training.
    """
    for study in studies:
        refuse_unequal_models(study)
    _refuse_others(studies)
    metric = studies[0].search.metric
    groups = [(list(_by_run(study.records())), study.space) for study in studies]
    models = [(_run(group, space), group) for found, space in groups for group in found]
    undecayed = {key: each for study in studies for key, each in undecayed_losses(study).items()}
    _refuse_same_seeds(studies, groups)
    return Observations(
        names=tuple(study.search.name for study in studies),
        metric=metric,
        runs=tuple(run for run, _ in models),
        compressed=tuple(
            _compressed(each, run, metric, undecayed) for run, group in models for each in group
        ),
        references=tuple(studies[0].references()),
    )


def undecayed_losses(study: Study) -> Mapping[str, tuple[float, float]]:
    """Loss before the decay, dense and compressed, by the hash of the configuration."""
    return {key: tuple(each) for key, each in study.attributes.get(UNDECAYED, {}).items()}


def score_of(metric: Metric, quality: float) -> float:
    """Inverse of ``Metric.normalised``: the score in the metric's own unit."""
    return metric.value_at(metric.guessing_quality + quality * (1.0 - metric.guessing_quality))


def gain_unit(metric: Metric) -> tuple[float, str]:
    """The unit in which a gain of quality is stated, and how many of it a quality of 1 is.

    A gain in perplexity is stated by its logarithm, because a ratio means the same everywhere.
    """
    if metric.name == "perplexity":
        return math.log(metric.guessing), "nats (log perplexity)"
    if metric.name in OF_WRITTEN_TEXTS:
        return metric.perfect - metric.guessing, OF_WRITTEN_TEXTS[metric.name]
    if metric.name == "bits-per-byte":
        return metric.guessing, "bits per byte"
    if metric.name in FROM_ZERO:
        return 100.0 * (metric.perfect - metric.guessing), f"points of {metric.name}"
    return abs(metric.perfect - metric.guessing), metric.name


def refuse_unequal_models(study: Study) -> None:
    """Refuse a search whose models differ in more than their size.

    Raises:
        UserError: It chooses among several checkpoints, settings of training or kinds of layers.
    """
    for name in ("activation", "tied_embeddings"):
        choices = getattr(study.search.space, name)
        if choices is not None and len(choices.values) > 1:
            raise UserError(
                f"search {study.search.name!r} has several values of space.{name}: the claims "
                "compare sizes of one kind of model; give it one value"
            )
    if study.search.checkpoints:
        raise UserError(
            f"search {study.search.name!r} chooses among several checkpoints: the claims compare "
            "sizes of one model; search each checkpoint alone"
        )
    if any(len(values) > 1 for values in study.search.space.training_values.values()):
        raise UserError(
            f"search {study.search.name!r} has several settings of training (space.training): the "
            "claims compare sizes of models that are trained alike; give each setting one value"
        )


def _refuse_others(studies: Sequence[Study]) -> None:
    first = studies[0]
    for study in studies:
        one, other = first.search.identity(), study.search.identity()
        names = sorted({*one, *other} - {"seed"})
        differing = [name for name in names if one.get(name) != other.get(name)]
        if first.data.get("fingerprint") != study.data.get("fingerprint"):
            differing.append("data (its fingerprint)")
        if differing:
            raise UserError(
                f"searches {first.search.name!r} and {study.search.name!r} differ in "
                f"{', '.join(differing)}; only searches that differ in nothing but their seed "
                "can be pooled"
            )


def _refuse_same_seeds(
    studies: Sequence[Study], groups: Sequence[tuple[list[list[TrialRecord]], SearchSpace]]
) -> None:
    taken: set[int] = set()
    for study, (found, _) in zip(studies, groups, strict=True):
        seeds = {group[0].configuration.seed for group in found} | {study.search.seed}
        if taken & seeds:
            raise UserError(
                f"search {study.search.name!r} has the same seed as another of these; its trials "
                "are no replicates; name only one of the two"
            )
        taken |= seeds


def _by_run(records: Iterable[TrialRecord]) -> Iterable[list[TrialRecord]]:
    """Complete trials with a finite loss, those of one trained model together."""
    groups: dict[tuple[Architecture, float, int], list[TrialRecord]] = defaultdict(list)
    for record in records:
        if record.is_complete and math.isfinite(record.result["dense_loss"]):
            one = record.configuration
            groups[one.architecture, one.budget, one.seed].append(record)
    return groups.values()


def _run(group: list[TrialRecord], space: SearchSpace) -> Run:
    """The one model that some trials compress."""
    record, metric = group[0], space.criteria.metric
    result, configuration = record.result, record.configuration
    architecture, budget = configuration.architecture, configuration.budget
    dense = result["dense_score"]
    # The study has no interval of the dense score: that of the nearest score has the same width.
    nearest = min(group, key=lambda each: abs(each.result["score"] - dense))
    steps = space.steps(budget, architecture)
    laid_out = layout(architecture.shape, space.workload_of(architecture.checkpoint))
    return Run(
        architecture=architecture,
        budget=budget,
        seed=configuration.seed,
        steps=steps.pretraining,
        training_flops=float(result["dense_training_flops"]),
        seconds=_seconds(result) - result["seconds"]["recovery"],
        parameters=laid_out.parameters,
        layer_parameters=laid_out.layer_parameters,
        size_bytes=result["dense_size_bytes"],
        loss=result["dense_loss"],
        quality=metric.normalised(dense),
        quality_error=_quality_error(nearest.result, metric),
    )


def _compressed(
    record: TrialRecord,
    trained: Run,
    metric: Metric,
    undecayed: Mapping[str, tuple[float, float]],
) -> Compressed:
    result = record.result
    dense, compressed = undecayed.get(record.configuration.hash, (math.nan, math.nan))
    return Compressed(
        run=trained,
        compression=record.configuration.canonical().compression,
        size_bytes=result["size_bytes"],
        training_flops=float(result["training_flops"]),
        seconds=_seconds(result),
        quality=metric.normalised(result["score"]),
        cost=float(result["loss"] - result["dense_loss"]),
        undecayed_cost=compressed - dense,
    )


def _seconds(result: dict[str, Any]) -> float:
    """Seconds of the whole training, whichever trials ran it.

    Budgets in seconds are turned into steps by a speed that was measured while no trial trained,
    and at that speed they count: other trials and programs slow training down.
    """
    seconds = sum(result["seconds"][stage] for stage in ("stable", "cooldown", "recovery"))
    if (speed := result.get("steps_per_second")) is None:
        return float(seconds)
    timed = [stage for stage in result["stages"] if stage["name"] in AT_KNOWN_SPEED]
    return float(seconds + sum(stage["steps"] / speed - stage["seconds"] for stage in timed))


def _quality_error(result: dict[str, Any], metric: Metric) -> float:
    low, high = metric.normalised(result["score_low"]), metric.normalised(result["score_high"])
    return abs(high - low) / STANDARD_ERRORS
