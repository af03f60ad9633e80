"""Quantised matrices in blocks, as the operators of ONNX Runtime read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from objectives.compression.quantise.weights import QuantisedWeight
from spaces.cost.onnx.blocks import Blocks, blocks_of


@dataclass(frozen=True)
class BlockCodes:
    """A matrix as unsigned codes in blocks of columns; zeros fill the last block.

    ``weight = (code - 2**(bits-1) - zero) * scale``.

    Args:
        data: uint8, ``(rows, blocks, block * bits / 8)``, the first code in the lowest bits.
        scales: fp16, ``(rows, blocks)``.
        zeros: fp16, ``(rows, blocks)``; None where they are 0.
        blocks: Of a row.
        columns: Columns of the matrix.
    """

    data: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor | None
    blocks: Blocks
    columns: int

    @property
    def half(self) -> int:
        """The unsigned code of a weight of zero where there are no zeros."""
        return 1 << (self.blocks.bits - 1)


def in_blocks(weight: QuantisedWeight) -> BlockCodes:
    """The same matrix in blocks: its own codes, scales and zeros, without another rounding.

    Codes of 3 and of 6 bits are stored in 4 and in 8.
    """
    rows, columns = weight.codes.shape
    blocks = blocks_of(weight.bits, weight.group_size, columns)
    bits, block, number = blocks
    codes = functional.pad(weight.codes.int(), (0, number * block - columns)) + (1 << (bits - 1))
    parts = codes.view(rows, number, -1, 8 // bits) << (torch.arange(8 // bits) * bits)
    group = torch.arange(number) * block // weight.group_size
    return BlockCodes(
        data=parts.sum(-1).to(torch.uint8),
        scales=weight.scales[:, group].contiguous(),
        zeros=None if weight.zeros is None else weight.zeros[:, group].contiguous(),
        blocks=blocks,
        columns=columns,
    )
