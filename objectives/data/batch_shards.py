"""Shards of a batch, for the workers that train one model together."""

from __future__ import annotations

from dataclasses import dataclass

from objectives.data.batches import Batch


@dataclass(frozen=True, slots=True)
class BatchShard:
    """One of ``count`` equal shards of each batch, numbered from 0."""

    index: int = 0
    count: int = 1

    def of(self, batch: Batch) -> Batch:
        """The rows of a batch that are in this shard."""
        if self.count == 1:
            return batch
        shard = {
            name: tensor.tensor_split(self.count)[self.index] for name, tensor in batch.items()
        }
        if "positions" in shard:
            # They point into the flattened tokens of the whole batch.
            shard["positions"] = shard["positions"] - self.index * shard["input_ids"].numel()
        return shard


WHOLE_BATCH = BatchShard()
