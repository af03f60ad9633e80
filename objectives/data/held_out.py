"""Training examples that are held out of training, to decide when it stops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from objectives.data.errors import DataError
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows, generator
from spaces.file.training import FineTuning

STREAM = 3
"""Of random numbers, apart from those of the order and the masks of batches."""


def check_fine_tuning(settings: FineTuning, examples: int, batch_size: int) -> None:
    """Check that there are enough training examples.

    Raises:
        DataError: There are not.
    """
    if faults := settings.faults(examples, batch_size):
        raise DataError("\n".join(faults))


def hold_out(examples: LabelledTexts, count: int, seed: int) -> tuple[Rows, Rows]:
    """Split training examples into those that are trained on and those that are held out.

    Whole groups are held out, of which equal texts are one; where groups are so large that no two
    of them make up half of ``count``, single examples.

    Args:
        examples: The training split.
        count: Most examples to hold out.
        seed: Other seeds hold out other examples.

    Returns:
        Rows to train on, and rows that are held out, both ascending.
    """
    _, by_group = np.unique(examples.groups, return_inverse=True)
    is_held_out = _chosen(by_group, count, seed)
    if len(np.unique(by_group[is_held_out])) < 2 or 2 * is_held_out.sum() < count:
        _, by_content = np.unique(examples.tokens, axis=0, return_inverse=True)
        is_held_out = _chosen(by_content, count, seed)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def _chosen(unit_of: Rows, count: int, seed: int) -> npt.NDArray[np.bool_]:
    """Whether each example is in one of the units that are drawn, of ``count`` examples at most."""
    sizes = np.bincount(unit_of)
    is_drawn = np.zeros(len(sizes), dtype=bool)
    lacking = count
    for unit in generator(seed, STREAM, 0).permutation(len(sizes)):
        if sizes[unit] <= lacking:
            is_drawn[unit] = True
            lacking -= sizes[unit]
    return is_drawn[unit_of]
