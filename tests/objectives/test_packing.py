"""Bit packing is exact and has no gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from objectives.compression.packing import pack, pack_mask, unpack, unpack_mask


@given(st.integers(1, 8).flatmap(
    lambda bits: st.tuples(
        st.just(bits),
        arrays.arrays(
            np.int8, st.integers(0, 200),
            elements=st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
        ),
    )
))  # fmt: skip
def test_codes_come_back(case: tuple[int, np.ndarray]) -> None:
    bits, codes = case
    packed = pack(codes, bits)
    assert len(packed) == -(-len(codes) * bits // 8)
    assert (unpack(packed, len(codes), bits) == codes).all()


@given(arrays.arrays(np.bool_, st.integers(0, 200)))
def test_masks_come_back(mask: np.ndarray) -> None:
    assert (unpack_mask(pack_mask(mask), len(mask)) == mask).all()


def test_a_code_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit in 3 bits"):
        pack(np.asarray([4], dtype=np.int8), 3)
