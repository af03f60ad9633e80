"""Shares of a batch: what each of the workers computes that train one model together."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from objectives.data.batches import Batch


@dataclass(frozen=True, slots=True)
class BatchShard:
    """One of a number of equal shares.

    Args:
        index: Which one, from 0.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    def of(self, batch: Batch) -> Batch:
        """This share of the rows of a batch."""
        if self.count == 1:
            return batch
        part = {name: self._of(tensor) for name, tensor in batch.items()}
        if "positions" in part:
            # They point into the flattened tokens of the whole batch.
            part["positions"] = part["positions"] - self.index * part["input_ids"].numel()
        return part

    def _of(self, tensor: torch.Tensor) -> torch.Tensor:
        length = len(tensor) // self.count
        return tensor[self.index * length : (self.index + 1) * length]


WHOLE_BATCH = BatchShard()
