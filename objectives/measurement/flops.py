"""FLOPs of a forward pass, counted while a model runs."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from objectives.data.batches import Batch


def count_forward_flops(model: nn.Module, inputs: Batch) -> int:
    """FLOPs of the matrix products of one forward pass with these arguments."""
    # CPU kernels that torch's counter does not know.
    kernels = {
        torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32: _int8_linear,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    }
    counter = FlopCounterMode(display=False, custom_mapping=kernels)
    with counter, torch.inference_mode():
        model(**inputs)
    return int(counter.get_total_flops())


def _int8_linear(input_shape: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return 2 * int(prod(input_shape)) * int(out_shape[-1])


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]
