"""Recorded tables: every configuration of a space, with its result and its seconds."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from search.arrays import Floats, Integers
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.features import (
    USUAL_GROUP,
    compression_features,
    is_in_doublings,
    setting_feature,
    training_features,
)
from spaces.cost.configuration import AFTER_STABLE_PATH
from spaces.cost.inference_cost import COSTS
from spaces.errors import UserError

ARCHITECTURE = ("depth", "width", "seed")
COMPRESSION = ("bits", "sparsity")
IDENTITY = (*ARCHITECTURE, "budget_steps", *COMPRESSION)
"""Columns that identify a configuration of every table."""
SHAPES = (
    "decoder_depth",
    "feed_forward",
    "feed_forward_ratio",
    "head_width",
    "heads",
    "vocabulary",
)
"""Further columns of architectures, which a table may have."""
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
ERROR = "accuracy_error"
"""Standard error of the accuracy, which older tables lack."""
PRETRAINED = "pretrained"
"""1 where models are cut from a checkpoint; tables of others lack it."""
MEASURED_COSTS = tuple(name for name, cost in COSTS.items() if cost.is_optional)
"""Costs that only some searches measured."""
OPTIONAL = (ERROR, PRETRAINED, *MEASURED_COSTS)
POSITIVE = ("depth", "width", "budget_steps", "bits", "size_bytes", "params")


class TableError(UserError):
    """A table that cannot be read."""


@dataclass(frozen=True)
class Table:
    """A recorded space: the result of each configuration, and its seconds.

    Args:
        name: Name of its file, without the ending.
        levels: Values of each dimension that varies, ascending.
        points: Index into ``levels`` of each row, ``(rows, dimensions)``.
        columns: The numbers of the file by column, ``(rows,)`` each.
        settings: Names of the columns of settings of training that vary.
        architecture: Index of the architecture (and seed) of each row.
        stable_path: Index of its stable path.
        run: Index of its training run.
        compression: Index of its compression.
    """

    name: str
    levels: dict[str, tuple[float, ...]]
    points: Integers
    columns: dict[str, Floats]
    settings: tuple[str, ...]
    architecture: Integers
    stable_path: Integers
    run: Integers
    compression: Integers

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a CSV file, plain or gzipped: ``COLUMNS``, those of ``OPTIONAL`` that it has, and a
        column of numbers for each further dimension of training.

        Raises:
            TableError: The file is missing, lacks a column, has no rows, repeats a configuration,
                or holds something that is not a finite number.
        """
        columns = _read_columns(path)
        names = (*IDENTITY, *_further(columns))
        identity = np.stack([columns[name] for name in names], 1)
        if len(np.unique(identity, axis=0)) < len(identity):
            raise TableError(f"{path}: two rows have the same {', '.join(names)}")
        return cls.of(path.name.removesuffix(".gz").removesuffix(".csv"), columns)

    @classmethod
    def of(cls, name: str, columns: dict[str, Floats]) -> Table:
        """A table of at least all ``COLUMNS``, ``(rows,)`` each; no two rows have one
        configuration."""
        further = _further(columns)
        shapes = [*ARCHITECTURE, *(name for name in further if name in SHAPES)]
        settings = tuple(
            name for name in further if name not in SHAPES and np.ptp(columns[name]) > 0.0
        )
        path = [*shapes, *(name for name in settings if not name.startswith(AFTER_STABLE_PATH))]
        run = [*shapes, *settings, "budget_steps"]
        values = {name: np.unique(columns[name]) for name in (*run, *COMPRESSION)}
        varied = [name for name in values if len(values[name]) > 1] or ["depth"]
        return cls(
            name=name,
            levels={name: tuple(map(float, values[name])) for name in varied},
            points=np.stack([np.searchsorted(values[name], columns[name]) for name in varied], 1),
            columns=columns,
            settings=settings,
            architecture=_groups(columns, shapes),
            stable_path=_groups(columns, path),
            run=_groups(columns, run),
            compression=_groups(columns, COMPRESSION),
        )

    def __len__(self) -> int:
        return len(self.run)

    @property
    def accuracy(self) -> Floats:
        """Accuracy of each row; of another metric, its ``Metric.quality``."""
        return self.columns["accuracy"]

    @property
    def error(self) -> Floats:
        """Standard error of each accuracy; NaN where the table lacks it."""
        return self.columns.get(ERROR, np.full(len(self), np.nan))

    @cached_property
    def log_size(self) -> Floats:
        """log10 of the bytes of each row."""
        return np.log10(self.columns["size_bytes"])

    def hypervolume(self, rows: Integers) -> float:
        """Area that rows dominate over accuracy and log10 of bytes.

        The reference point is the table's lowest accuracy and largest size.
        """
        if len(rows) == 0:
            return 0.0
        order = rows[np.argsort(self.log_size[rows], kind="stable")]
        best = np.maximum.accumulate(self.accuracy[order]) - self.accuracy.min()
        ends = np.append(self.log_size[order][1:], self.log_size.max())
        return float(best @ (ends - self.log_size[order]))


def design_space_of(table: Table) -> DesignSpace:
    """The design space of a table: all that it says except accuracies and times."""
    _, first = np.unique(table.run, return_index=True)
    _, example = np.unique(table.compression, return_index=True)
    c = table.columns
    costs = np.full((len(first), len(example)), np.nan)
    costs[table.run, table.compression] = table.log_size
    # Multiplications of the encoder, and of the embeddings for the positions that are masked.
    encoder = 12.0 * c["depth"][first] * c["width"][first] ** 2
    # Features that a table has no column for are equal in all its rows.
    nothing = np.zeros(len(example))
    width = c["width"][first]
    heads = c["heads"][first] if "heads" in c else width / c.get("head_width", c["width"])[first]
    ratio = c["feed_forward_ratio"][first] if "feed_forward_ratio" in c else 1.0
    feed_forward = c["feed_forward"][first] if "feed_forward" in c else ratio * width
    settings = [c[name][first] for name in table.settings]
    return DesignSpace(
        runs=training_features(
            depth=c["depth"][first],
            width=width,
            steps=c["budget_steps"][first],
            heads=heads,
            feed_forward=feed_forward,
            vocabulary=c["vocabulary"][first] if "vocabulary" in c else None,
            settings=list(map(setting_feature, settings)),
        ),
        architecture=table.architecture[first],
        stable_path=table.stable_path[first],
        settings=tuple(map(is_in_doublings, settings)),
        is_pretrained=bool(c[PRETRAINED].all()) if PRETRAINED in c else False,
        steps=c["budget_steps"][first],
        depth=c["depth"][first],
        step_flops=np.maximum(encoder, 0.15 * c["params"][first] + 0.85 * encoder),
        compressions=compression_features(
            bits=c["bits"][example],
            group_size=np.full(len(example), float(USUAL_GROUP)),
            is_static=nothing,
            structured=c["sparsity"][example],
            unstructured=nothing,
        ),
        log_costs=lambda runs: costs[runs],
        limits=(float(table.log_size.min()), float(table.log_size.max())),
    )


def _read_columns(path: Path) -> dict[str, Floats]:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            lines = list(csv.DictReader(file))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as a table: {error}") from error
    if not lines:
        raise TableError(f"{path}: no rows")
    missing = [name for name in COLUMNS if name not in lines[0]]
    if missing:
        raise TableError(
            f"{path}: no column {', '.join(missing)}; a table has {', '.join(COLUMNS)}"
        )
    return {
        name: np.array([_number(path, k, name, line) for k, line in enumerate(lines, 2)])
        for name in lines[0]
    }


def _further(columns: Iterable[str]) -> list[str]:
    """The columns of further dimensions of training."""
    return [name for name in columns if name not in (*COLUMNS, *OPTIONAL)]


def _number(path: Path, number: int, name: str, line: dict[str, str]) -> float:
    try:
        value = float(line[name])
    except (TypeError, ValueError):
        value = math.nan
    if name == "accuracy":
        # A broken language model is worse than guessing, and its quality is below 0.
        is_allowed, allowed = True, "a number"
    elif name in POSITIVE:
        is_allowed, allowed = value > 0, "a number above 0"
    else:
        is_allowed, allowed = value >= 0, "a number of at least 0"
    if not (is_allowed and math.isfinite(value)):
        raise TableError(f"{path}, line {number}: {name} is {line[name]!r}; it must be {allowed}")
    return value


def _groups(columns: dict[str, Floats], names: Sequence[str]) -> Integers:
    """Index of each row's combination of values in some columns, from 0."""
    stacked = np.stack([columns[name] for name in names], 1)
    return np.unique(stacked, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
