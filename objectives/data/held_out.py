"""Training examples that are held out of training, to decide when it stops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from objectives.data.encoding import Labels
from objectives.data.errors import DataError
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows, generator
from objectives.data.sources.stratification import LEAST_UNITS, Units, drawn
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

    Whole groups are held out, of which equal texts are one, with each class as often as it is among
    the others; where groups are so large that no two of them make up half of ``count``, single
    examples.

    Args:
        examples: The training split.
        count: Most examples to hold out.
        seed: Other seeds hold out other examples.

    Returns:
        Rows to train on, and rows that are held out, both ascending.
    """
    _, by_group = np.unique(examples.groups, return_inverse=True)
    is_held_out = _chosen(by_group, examples.labels, count, seed)
    if len(np.unique(by_group[is_held_out])) < LEAST_UNITS or 2 * is_held_out.sum() < count:
        _, by_content = np.unique(examples.tokens, axis=0, return_inverse=True)
        is_held_out = _chosen(by_content, examples.labels, count, seed)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def _chosen(unit_of: Rows, labels: Labels, count: int, seed: int) -> npt.NDArray[np.bool_]:
    """Whether each example is in one of the units that are drawn, of ``count`` examples at most."""
    # Numbers, and the tags of words, are no classes of an example.
    has_classes = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    of_examples = labels if has_classes else np.empty(0, dtype=np.int64)
    _, classes, counts = np.unique(of_examples, return_inverse=True, return_counts=True)
    units = Units.of(unit_of, np.ones_like(unit_of), np.arange(len(classes)), classes)
    chosen = drawn(
        units,
        generator(seed, STREAM, 0).permutation(len(units.sizes)),
        wanted=count,
        enough=1,
        class_counts=(count / len(unit_of) * counts).tolist(),
    )
    return np.isin(unit_of, chosen)
