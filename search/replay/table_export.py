"""A finished search as a table that ``tlc replay`` reads."""

from __future__ import annotations

import csv
from typing import TextIO

from search.replay.table import COLUMNS, identity, row
from search.storage.study import Study


def write_table(study: Study, out: TextIO) -> int:
    """Write a row for each complete trial; returns how many.

    Where several trials have the same depth, width, budget, bits and sparsity, because the search
    had other dimensions too, the best stands for them.
    """
    best: dict[tuple[str, ...], dict[str, str]] = {}
    for record in study.records():
        if record.is_complete:
            line = row(record.configuration, study.search, record.result)
            key = identity(line)
            if key not in best or float(line["accuracy"]) > float(best[key]["accuracy"]):
                best[key] = line
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerows(best.values())
    return len(best)
