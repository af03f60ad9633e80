"""Recorded tables: every configuration of a space with its result and what it took to get it."""

from __future__ import annotations

from typing import Any

from spaces.configuration import Configuration
from spaces.search_file import SearchFile

IDENTITY = ("depth", "width", "seed", "budget_steps", "bits", "sparsity")
"""Columns that say which configuration a row is."""
COLUMNS = (
    *IDENTITY,
    "accuracy",
    "loss",
    "size_bytes",
    "latency_ms",
    "params",
    "train_seconds_stable",
    "train_seconds_cooldown",
    "compress_eval_seconds",
)


def identity_columns(configuration: Configuration, search: SearchFile) -> dict[str, str]:
    """Which configuration a row is, as text by column."""
    architecture = configuration.architecture
    steps = search.schedule.steps(configuration.budget, architecture, search.workload)
    return {
        "depth": str(architecture.depth),
        "width": str(architecture.width),
        "seed": str(configuration.seed),
        "budget_steps": str(steps.pretraining),
        "bits": str(configuration.compression.quantisation.bits),
        "sparsity": f"{configuration.compression.sparsity:g}",
    }


def row(configuration: Configuration, search: SearchFile, result: dict[str, Any]) -> dict[str, str]:
    """One line of a table.

    Args:
        configuration: What was evaluated.
        search: The search that it belongs to.
        result: From ``Evaluation.to_dict``.

    Returns:
        Text by column, with as many digits as mean something.
    """
    seconds = result["seconds"]
    return {
        **identity_columns(configuration, search),
        "accuracy": f"{result['accuracy']:.5f}",
        "loss": f"{result['loss']:.5f}",
        "size_bytes": str(result["size_bytes"]),
        "latency_ms": f"{result['latency_ms']:.4f}",
        "params": str(result["parameters"]),
        "train_seconds_stable": f"{seconds['stable']:.3f}",
        "train_seconds_cooldown": f"{seconds['cooldown']:.3f}",
        "compress_eval_seconds": f"{seconds['compress'] + seconds['measure']:.4f}",
    }
