"""Packing of codes of any number of bits into bytes, without gaps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]


MIN_CODES = 8
"""Codes from which their bits follow from the bytes that they take."""


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of packed codes."""
    return -(-count * bits // 8)


def bits_of(packed: Bytes, count: int) -> int:
    """Bits of each of ``count`` packed codes: at least ``MIN_CODES`` of them, or of 8 bits each."""
    return 8 * len(packed) // count if count else 8


def pack(codes: Codes, bits: int) -> Bytes:
    """Pack signed codes.

    Args:
        codes: Integers from ``-2**(bits-1)`` to ``2**(bits-1) - 1``, ``(count,)``.
        bits: Bits of each, 1 to 8.

    Returns:
        ``(ceil(count * bits / 8),)``, most significant bit first.

    Raises:
        ValueError: A code does not fit.
    """
    half = 1 << (bits - 1)
    if codes.size and not (-half <= int(codes.min()) and int(codes.max()) < half):
        raise ValueError(f"codes from {codes.min()} to {codes.max()} do not fit in {bits} bits")
    unsigned = (codes.astype(np.int16) + half).astype(np.uint8)
    planes = np.unpackbits(unsigned[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(planes)


def unpack(packed: Bytes, count: int, bits: int) -> Codes:
    """Inverse of ``pack``: ``count`` signed codes, ``(count,)``."""
    planes = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    padded = np.zeros((count, 8), dtype=np.uint8)
    padded[:, 8 - bits :] = planes
    unsigned = np.packbits(padded, axis=1)[:, 0].astype(np.int16)
    return (unsigned - (1 << (bits - 1))).astype(np.int8)


def pack_mask(kept: npt.NDArray[np.bool_]) -> Bytes:
    """Pack a mask, ``(count,)``, one bit each."""
    return np.packbits(kept)


def unpack_mask(packed: Bytes, count: int) -> npt.NDArray[np.bool_]:
    """Inverse of ``pack_mask``, ``(count,)``."""
    return np.unpackbits(packed, count=count).astype(np.bool_)
