"""An exported model against the original: the differences between their logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from objectives.data.batches import Batch, forward_arguments, logits

MAX_INPUTS = 8
"""Inputs of a batch that are compared; language models give many logits for each."""

OF_ONE_LENGTH = ("pixel_values", "input_features", "input_values")
"""Inputs that are compared as they are."""

TOLERANCE = 1e-4
"""Largest allowed difference between two logits, as a fraction of the largest logit. Kernels that
sum fp32 in another order differ by a millionth; a wrong mask or position by a tenth and more."""

INT8_TOLERANCE = 0.05
"""The same for int8. An input between two of 255 codes may round either way, which all later layers
carry on: up to 0.013 was measured on trained models, and up to 0.025 on random ones."""

INT8_MEAN_TOLERANCE = 5e-3
"""Mean difference for int8, as a fraction of the largest logit: up to 0.0013 was measured on random
models. Few inputs lie between two codes, but a kernel whose sums saturate changes all logits."""


@dataclass(frozen=True)
class Comparison:
    """Differences between the logits of an exported model and of the original.

    Args:
        compared: Number of logits that were compared.
        largest_difference: Largest absolute difference of a logit.
        mean_difference: Mean absolute difference.
        largest_logit: Largest absolute logit of the original.
        is_int8: Whether linear layers are int8.
    """

    compared: int
    largest_difference: float
    mean_difference: float
    largest_logit: float
    is_int8: bool

    @property
    def is_close(self) -> bool:
        """Whether the differences are within the tolerances of rounding."""
        largest, mean = (
            (INT8_TOLERANCE, INT8_MEAN_TOLERANCE) if self.is_int8 else (TOLERANCE, TOLERANCE)
        )
        return (
            self.largest_difference <= largest * self.largest_logit
            and self.mean_difference <= mean * self.largest_logit
        )

    def __str__(self) -> str:
        return (
            f"differ by at most {self.largest_difference:.2g} ({self.mean_difference:.2g} on "
            f"average); the largest is {self.largest_logit:.3g}"
        )


def inputs_of(batches: list[Batch]) -> list[Batch]:
    """Inputs to compare with: some of each batch, and one alone of half the length, where it has
    one, which is a shape of its own."""
    inputs = [
        {name: tensor[:MAX_INPUTS] for name, tensor in forward_arguments(batch).items()}
        for batch in batches
    ]
    other_shape = {
        name: tensor[:1] if name in OF_ONE_LENGTH else tensor[:1, : tensor.shape[1] // 2]
        for name, tensor in inputs[0].items()
    }
    return [*inputs, other_shape]


def compare(
    model: torch.nn.Module,
    exported: Callable[[dict[str, Any]], Any],
    inputs: list[Batch],
    *,
    is_int8: bool,
) -> Comparison:
    """Compare the logits of a model with those of a function of arrays.

    Args:
        exported: From int64 and float32 arrays by name to logits.
    """
    differences = []
    largest_logit = 0.0
    for batch in inputs:
        with torch.inference_mode():
            expected = logits(model, batch).numpy()
        found = exported({name: tensor.numpy() for name, tensor in batch.items()})
        differences.append(np.abs(found - expected).ravel())
        largest_logit = max(largest_logit, float(np.abs(expected).max()))
    together = np.concatenate(differences)
    return Comparison(
        compared=len(together),
        largest_difference=float(together.max()),
        mean_difference=float(together.mean()),
        largest_logit=largest_logit,
        is_int8=is_int8,
    )
