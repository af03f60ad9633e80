"""How ONNX Runtime's operators lay out the codes of a matrix."""

from __future__ import annotations

from typing import NamedTuple

WIDTHS = (2, 4, 8)
"""Bits in which a code can be stored."""
KERNEL_BLOCKS = (16, 32, 64, 128, 256)
"""Blocks that the kernels of ONNX Runtime take."""


class Blocks(NamedTuple):
    """The blocks of a row of codes.

    Args:
        bits: In which a code is stored: 2, 4 or 8.
        size: Columns that share a scale.
        number: Blocks of a row; zeros fill the last one.
    """

    bits: int
    size: int
    number: int

    @property
    def bytes(self) -> int:
        """Bytes of a row."""
        return self.number * self.size * self.bits // 8

    @property
    def has_kernels(self) -> bool:
        """Whether the operators of ONNX Runtime take blocks of this size."""
        return self.size in KERNEL_BLOCKS


def blocks_of(bits: float, group_size: int, columns: int) -> Blocks:
    """The blocks of codes whose groups share a scale: the largest of a kernel that divides the
    group, or else the group. Codes of 3 and of 6 bits are stored in 4 and in 8."""
    width = next(each for each in WIDTHS if each >= bits)
    if group_size >= columns:
        # One group: any block will do, and the scale is repeated.
        size = min(KERNEL_BLOCKS, key=lambda b: -(-columns // b) * (b * width // 8 + 2))
    else:
        size = max((b for b in KERNEL_BLOCKS if group_size % b == 0), default=group_size)
    return Blocks(width if size * width % 8 == 0 else 8, size, -(-columns // size))
