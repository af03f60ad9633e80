"""Recorded tables: every configuration of a space, with its result and its seconds."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from search.arrays import Floats, Integers
from spaces.cost.compression import Pruning, Quantisation
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
METHOD = ("quantisation", "group_size", "pruning", "recovery")
"""Further columns of compressions, which a table has where bits and sparsity do not tell them
apart; recovery is in the unit of the search's budget."""
KINDS = ("activation", "checkpoint")
"""Further columns of architectures, of names."""
NAMES: dict[str, Callable[[str], str]] = {
    "quantisation": Quantisation,
    "pruning": Pruning,
    **dict.fromkeys(KINDS, str),
}
"""Columns of names, and what makes a name or raises ``ValueError``."""
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
        columns: The numbers of the file by column, ``(rows,)`` each; of names, the index of each.
        names: The names of each column of ``NAMES`` that the file has.
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
    names: dict[str, tuple[str, ...]]
    settings: tuple[str, ...]
    architecture: Integers
    stable_path: Integers
    run: Integers
    compression: Integers

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a CSV file, plain or gzipped: ``COLUMNS``, those of ``OPTIONAL`` that it has, all or
        none of ``METHOD``, those of ``KINDS``, and a column of numbers for each further dimension
        of training.

        Raises:
            TableError: The file is missing, lacks a column, has no rows, repeats a configuration,
                or holds something that is not a finite number.
        """
        columns, categories = _read_columns(path)
        names = (*IDENTITY, *_further(columns))
        identity = np.stack([columns[name] for name in names], 1)
        if len(np.unique(identity, axis=0)) < len(identity):
            raise TableError(f"{path}: two rows have the same {', '.join(names)}")
        name = path.name.removesuffix(".gz").removesuffix(".csv")
        return cls.of(name, columns, categories)

    @classmethod
    def of(
        cls,
        name: str,
        columns: dict[str, Floats],
        names: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Table:
        """A table of at least all ``COLUMNS``, ``(rows,)`` each; no two rows have one
        configuration.

        Args:
            names: The names of columns that are indices of them.
        """
        further = _further(columns)
        shapes = [*ARCHITECTURE, *(name for name in further if name in (*SHAPES, *KINDS))]
        compression = [*COMPRESSION, *(name for name in further if name in METHOD)]
        settings = tuple(
            name
            for name in further
            if name not in (*shapes, *compression) and np.ptp(columns[name]) > 0.0
        )
        path = [*shapes, *(name for name in settings if not name.startswith(AFTER_STABLE_PATH))]
        run = [*shapes, *settings, "budget_steps"]
        values = {name: np.unique(columns[name]) for name in (*run, *compression)}
        varied = [name for name in values if len(values[name]) > 1] or ["depth"]
        return cls(
            name=name,
            levels={name: tuple(map(float, values[name])) for name in varied},
            points=np.stack([np.searchsorted(values[name], columns[name]) for name in varied], 1),
            columns=columns,
            names=dict(names or {}),
            settings=settings,
            architecture=_groups(columns, shapes),
            stable_path=_groups(columns, path),
            run=_groups(columns, run),
            compression=_groups(columns, compression),
        )

    def __len__(self) -> int:
        return len(self.run)

    def texts(self, column: str) -> list[str]:
        """A column of names, of each row."""
        return [self.names[column][int(index)] for index in self.columns[column]]

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


def _read_columns(path: Path) -> tuple[dict[str, Floats], dict[str, tuple[str, ...]]]:
    """The columns of a table as numbers, and the names of those that are indices of names."""
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as a table: {error}") from error
    if not lines:
        raise TableError(f"{path}: no rows")
    wanted = (*COLUMNS, *METHOD) if any(name in lines[0] for name in METHOD) else COLUMNS
    missing = [name for name in wanted if name not in lines[0]]
    if missing:
        raise TableError(f"{path}: no column {', '.join(missing)}; a table has {', '.join(wanted)}")
    columns: dict[str, Floats] = {}
    names: dict[str, tuple[str, ...]] = {}
    for name in lines[0]:
        if name in NAMES:
            texts = [_name(path, k, name, line) for k, line in enumerate(lines, 2)]
            names[name] = tuple(sorted({*texts}))
            columns[name] = np.array([float(names[name].index(text)) for text in texts])
        else:
            columns[name] = np.array(
                [_number(path, k, name, line) for k, line in enumerate(lines, 2)]
            )
    return columns, names


def _name(path: Path, number: int, name: str, line: dict[str, str]) -> str:
    try:
        return str(NAMES[name](line[name]))
    except ValueError as error:
        raise TableError(
            f"{path}, line {number}: {name} is {line[name]!r}, which tlc does not know"
        ) from error


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
