"""The order of ``compression: fit``: its table, and its agreement with a measured matrix."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from statistics import mean

import torch
from scipy.stats import kendalltau
from torch import nn

from objectives.measurement.evaluation import Evaluation
from objectives.objective import Objective
from spaces.cost.compression import Compression
from spaces.grid import compression_losses
from spaces.grid.compression_losses import COLUMNS, FILE, losses_of

TABLE = Path(compression_losses.__file__).with_name(FILE)
BATCHES = 16
"""Training batches that the loss is the mean of."""
LISTED = 10
"""Disagreements that are printed."""


def training_loss(model: nn.Module, objective: Objective) -> float:
    """Mean loss of a model on training batches.

    On training data the trained model is near a minimum, from which every compression rises; on
    validation data mild ones may lower the loss.
    """
    task = objective._task
    with torch.inference_mode():
        return mean(float(task.loss(model, task.batch(step))) for step in range(BATCHES))


def write_losses(
    task: str, measured: Mapping[Compression, Evaluation], losses: Mapping[Compression, float]
) -> None:
    """Replace the losses of a task in the table.

    Args:
        measured: By compression, whose recovery is a fraction of the budget.
        losses: Those on training batches.
    """
    kept = []
    if TABLE.exists():
        kept = [row for row in csv.DictReader(TABLE.open()) if row["task"] != task]
    for compression, result in measured.items():
        values = (
            task, compression.quantisation, compression.group_size, compression.pruning,
            f"{compression.sparsity:g}", f"{compression.recovery:g}",
            f"{losses[compression] - losses[Compression()]:.6f}",
            f"{result.loss - result.dense_loss:.6f}",
        )  # fmt: skip
        kept.append({name: str(value) for name, value in zip(COLUMNS, values, strict=True)})
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept, key=lambda row: row["task"]))
    losses_of.cache_clear()


def print_agreement(
    task: str, measured: Mapping[Compression, Evaluation], *, is_maximised: bool
) -> None:
    """Compare the order that ``fit`` takes with the measured scores.

    Pairs are compared whose 95 % intervals do not overlap. The intervals are those of single
    scores, which are wider than those of differences on the same examples.
    """
    table = losses_of(task)
    compressions = list(measured)
    expected = [table.added_by(compression) for compression in compressions]
    losses = [measured[compression].loss for compression in compressions]
    differing, agreeing, wrong = 0, 0, []
    for (a, of_a), (b, of_b) in combinations(zip(compressions, expected, strict=True), 2):
        better, worse = (measured[a], measured[b])
        if (better.score > worse.score) != is_maximised:
            (a, of_a), (b, of_b), better, worse = (b, of_b), (a, of_a), worse, better
        is_apart = (
            better.score_low > worse.score_high
            if is_maximised
            else better.score_high < worse.score_low
        )
        if not is_apart:
            continue
        differing += 1
        if of_a < of_b:
            agreeing += 1
        else:
            wrong.append(
                f"{a} group {a.group_size} ({better.score:.4g}) after "
                f"{b} group {b.group_size} ({worse.score:.4g})"
            )
    tau = float(kendalltau(expected, losses).statistic)
    print(
        f"\norder of fit: {agreeing} of {differing} pairs with separate intervals agree; "
        f"Kendall's tau with the losses {tau:.2f}"
    )
    for line in wrong[:LISTED]:
        print(f"- {line}")
