"""A search's trials as a table that ``tlc replay`` reads."""

from __future__ import annotations

import csv
from typing import Any, TextIO

from search.replay.table import COLUMNS, ERROR, IDENTITY, MEASURED_COSTS, METHOD, PRETRAINED
from search.samplers.frontier.history import score_error
from search.storage.study import Study
from spaces.cost.compression import Quantisation
from spaces.cost.configuration import Configuration
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

STANDARD = ("depth", "width", "budget")
"""Dimensions of training with a column of their own in every table."""


def further_dimensions(space: SearchSpace) -> tuple[str, ...]:
    """Names of the further columns that tell configurations apart: the further dimensions of
    training with several values, and where bits and sparsity do not tell compressions apart, the
    rest of them."""
    several = {each.name: each for each in space.dimensions if len(each.values) > 1}
    training = (name for name in several if name not in (*STANDARD, *COMPRESSION_FIELDS))
    quantisations = several["quantisation"].values if "quantisation" in several else ()
    bits = {Quantisation(each).bits for each in quantisations}
    needs_method = len(bits) < len(quantisations) or any(
        name in several for name in METHOD if name != "quantisation"
    )
    return *training, *(METHOD if needs_method else ())


def columns_of(space: SearchSpace) -> tuple[str, ...]:
    """The columns of a table of a space, in their order."""
    others = (ERROR, PRETRAINED) if space.search.model is not None else (ERROR,)
    costs = (name for name in MEASURED_COSTS if name in space.criteria.costs)
    return (*IDENTITY, *further_dimensions(space), *COLUMNS[len(IDENTITY) :], *others, *costs)


def identity_columns(configuration: Configuration, space: SearchSpace) -> dict[str, str]:
    """The columns that identify a configuration, as text."""
    architecture = configuration.architecture
    steps = space.steps(configuration.budget, architecture)
    return {
        **{name: _text(configuration.value_of(name)) for name in further_dimensions(space)},
        "depth": str(architecture.depth),
        "width": str(architecture.width),
        "seed": str(configuration.seed),
        "budget_steps": str(steps.pretraining),
        "bits": str(configuration.compression.quantisation.bits),
        "sparsity": f"{configuration.compression.sparsity:g}",
    }


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:g}"


def row(configuration: Configuration, space: SearchSpace, result: dict[str, Any]) -> dict[str, str]:
    """One line of a table, as text by column, rounded to the digits that are significant.

    Args:
        result: From ``Evaluation.to_dict``.
    """
    seconds = result["seconds"]
    return {
        **identity_columns(configuration, space),
        "accuracy": f"{space.criteria.metric.quality(result['score']):.5f}",
        ERROR: f"{score_error(result, space.criteria.metric):.5f}",
        "loss": f"{result['loss']:.5f}",
        "size_bytes": str(result["size_bytes"]),
        "latency_ms": f"{result['latency_ms']:.4f}",
        **{name: f"{result[name]:.4f}" for name in MEASURED_COSTS if name in result},
        "params": str(result["parameters"]),
        "train_seconds_stable": f"{seconds['stable']:.3f}",
        "train_seconds_cooldown": f"{seconds['cooldown']:.3f}",
        "compress_eval_seconds": f"{seconds['compress'] + seconds['measure']:.4f}",
        **({PRETRAINED: "1"} if space.search.model is not None else {}),
    }


def identity(line: dict[str, str], space: SearchSpace) -> tuple[str, ...]:
    """The values that identify the configuration of a line."""
    return tuple(line[name] for name in (*IDENTITY, *further_dimensions(space)))


def write_table(study: Study, out: TextIO) -> int:
    """Write a row for each complete trial, of several of one configuration the best; returns the
    number of rows."""
    best: dict[tuple[str, ...], dict[str, str]] = {}
    for record in study.records():
        if record.is_complete:
            line = row(record.configuration, study.space, record.result)
            key = identity(line, study.space)
            if key not in best or float(line["accuracy"]) > float(best[key]["accuracy"]):
                best[key] = line
    writer = csv.DictWriter(out, columns_of(study.space))
    writer.writeheader()
    writer.writerows(best.values())
    return len(best)
