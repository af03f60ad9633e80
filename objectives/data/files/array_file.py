"""Arrays that are written row by row into ``.npy`` files, as ``numpy.save`` writes whole ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np


class ArrayFile:
    """A new ``.npy`` file to which rows are appended; it is complete at the end of the context.

    Args:
        path: Where it is written.
        dtype: Type of its numbers.
        row: Shape of a row; numbers by default.
    """

    def __init__(self, path: Path, dtype: Any, row: tuple[int, ...] = ()) -> None:
        self._dtype, self._row = np.dtype(dtype), row
        self.rows = 0
        """Rows that were written."""
        self._file = path.open("wb")
        self._write_header()

    def append(self, rows: Any) -> None:
        """Write some rows ``(rows, ...)``."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self.rows += len(rows)

    def _write_header(self) -> None:
        # numpy leaves room in it for a larger number of rows.
        self._file.seek(0)
        shape = (self.rows, *self._row)
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with self._file:
            self._write_header()
