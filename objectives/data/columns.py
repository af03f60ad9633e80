"""The data of a user's own task: splits of arrays by name, checked and stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from objectives.data.arrays import Written
from objectives.data.batches import Batch
from objectives.data.errors import DataError
from objectives.data.prepared_data import COLUMN
from objectives.data.row_order import Rows, shuffled_rows
from spaces.file.inputs.tables import SPLITS

GROUP = "group"
"""Name of the array that says which rows depend on each other; no model reads it."""
FEWEST_ROWS = 2

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
"""Arrays ``(rows, ...)`` of equal length."""


def write_splits(splits: Any, folder: Path) -> Written:
    """Check the splits of a task, and write their arrays into a folder.

    Args:
        splits: ``train``, ``validation`` and ``test``, each a mapping from names to arrays (or
            tensors, or lists) with a row for each example, or a ``datasets.Dataset``.

    Raises:
        DataError: They have another form.
    """
    if not isinstance(splits, Mapping) or set(splits) != {*SPLITS}:
        given = (
            ", ".join(map(str, splits)) if isinstance(splits, Mapping) else type(splits).__name__
        )
        raise _fault(f"returned {given}; allowed are the splits {', '.join(SPLITS)}")
    checked = {split: _columns(split, splits[split]) for split in SPLITS}
    expected = _form(checked["train"])
    for split, columns in checked.items():
        if (form := _form(columns)) != expected:
            raise _fault(f"{split} has {_text(form)}, train has {_text(expected)}")
        for name, array in columns.items():
            np.save(folder / f"{COLUMN}{split}-{name}.npy", array, allow_pickle=False)
    counts = {f"{split} rows": _rows(columns) for split, columns in checked.items()}
    return Written((), counts, {})


def _fault(message: str) -> DataError:
    return DataError(f"task.name: data() {message}")


def _columns(split: str, given: Any) -> dict[str, Array]:
    names = getattr(given, "column_names", None)
    if names is None:
        names = list(given) if isinstance(given, Mapping) else []
    if not names:
        raise _fault(
            f"returned {type(given).__name__} as {split}; allowed are a mapping from names to "
            "arrays and a datasets.Dataset"
        )
    columns = {str(name): _array(split, str(name), given[name]) for name in names}
    rows = {name: len(array) for name, array in columns.items()}
    if len({*rows.values()}) > 1:
        raise _fault(f"gave {split} arrays of different numbers of rows: {rows}")
    if _rows(columns) < FEWEST_ROWS:
        raise _fault(f"gave {split} {_rows(columns)} rows; the minimum is {FEWEST_ROWS}")
    return columns


def _array(split: str, name: str, given: Any) -> Array:
    place = f"gave {split} an array {name!r}"
    if not name.isidentifier():
        raise _fault(f"{place}, whose name is no argument of a forward pass")
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        raise _fault(
            f"{place} that holds no numbers, or rows of different lengths; encode texts, and pad "
            "rows to one length"
        )
    if array.ndim == 0:
        raise _fault(f"{place} without rows")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise _fault(f"{place} with numbers that are not finite")
        return array
    return array if array.dtype == np.uint8 else array.astype(np.int64)


def _rows(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _form(columns: Columns) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of a row of each array."""
    return {name: (array.dtype.name, array.shape[1:]) for name, array in columns.items()}


def _text(form: dict[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} ({kind} {list(shape)})" for name, (kind, shape) in form.items())


@dataclass(frozen=True)
class ColumnBatches:
    """Training batches of some arrays."""

    columns: Columns
    batch_size: int
    seed: int

    @property
    def rows(self) -> int:
        """Rows of the split."""
        return _rows(self.columns)

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        return column_batch(
            self.columns, shuffled_rows(self.seed, step, self.batch_size, self.rows)
        )


def column_batch(columns: Columns, rows: Rows) -> Batch:
    """Some rows of arrays as tensors; the groups are left out."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(array[rows]))
        for name, array in columns.items()
        if name != GROUP
    }


def column_batches(columns: Columns, batch_size: int) -> Iterator[Batch]:
    """All rows once, in their order."""
    count = _rows(columns)
    for start in range(0, count, batch_size):
        yield column_batch(columns, np.arange(start, min(start + batch_size, count)))


def groups_of(columns: Columns) -> npt.NDArray[np.integer[Any]]:
    """The group of each row ``(rows,)``: of one row each where none are named."""
    given = columns.get(GROUP)
    return np.arange(_rows(columns)) if given is None else np.asarray(given)
