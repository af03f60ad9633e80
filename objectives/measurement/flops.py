"""FLOPs of a forward pass, counted while a model runs, and batches that are divided by them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from objectives.data.batches import Batch, BatchShard, forward_arguments, to_device
from objectives.device import CPU, device_of
from objectives.models.forward import layer_heartbeats
from objectives.store import heartbeat

MAX_PASS_FLOPS = 5e11
"""Of a pass on a part: 10 seconds on one core, which does about 50 GFLOPs a second."""


def count_forward_flops(model: nn.Module, inputs: Batch) -> int:
    """FLOPs of the matrix products of one forward pass with these arguments."""
    # CPU kernels that torch's counter does not know.
    kernels = {
        torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32: _int8_linear,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    }
    counter = FlopCounterMode(display=False, custom_mapping=kernels)
    with counter, torch.inference_mode():
        model(**to_device(inputs, model))
    return int(counter.get_total_flops())


def _int8_linear(input_shape: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return 2 * int(prod(input_shape)) * int(out_shape[-1])


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


class BatchParts:
    """Divides the batches on which a pass of a model takes long on a CPU.

    Floating-point sums depend on the batch, so the division depends on the model and the batch
    alone, and not on how fast a machine is.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters = sum(each.numel() for each in model.parameters())
        self._flops_per_element = 0.0

    def of(self, batch: Batch) -> Iterator[Batch]:
        """A batch, or its parts one after another, with heartbeats of the layers of the model while
        the caller computes with them."""
        inputs = forward_arguments(batch)
        elements = sum(each.numel() for each in inputs.values())
        # The first limit is that of a cost which no model exceeds, and needs no pass.
        if device_of(self._model) != CPU or 2 * self._parameters * elements <= MAX_PASS_FLOPS:
            yield batch
            return
        with layer_heartbeats(self._model):
            rows = len(next(iter(inputs.values())))
            if self._flops_per_element == 0.0:
                row = BatchShard(0, rows).of(inputs)
                of_row = count_forward_flops(self._model, row)
                self._flops_per_element = of_row / sum(each.numel() for each in row.values())
            wanted = self._flops_per_element * elements / MAX_PASS_FLOPS
            # Shards of a batch are of equal size.
            count = next(n for n in range(1, rows + 1) if rows % n == 0 and n >= min(wanted, rows))
            for index in range(count):
                heartbeat.beat()
                yield BatchShard(index, count).of(batch)


def concatenated(parts: list[torch.Tensor]) -> torch.Tensor:
    """What was computed of the parts of a batch, as of the whole one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
