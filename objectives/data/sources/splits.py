"""Splits that share nothing: what is held out of training, and what a later split already has."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence

HELD_OUT = 0.1


def held_out(contents: Iterable[bytes], missing: Sequence[str]) -> dict[str, list[int]]:
    """Rows of training, and those of the splits that are missing: a tenth each.

    By the content, and not by its place: equal rows stay together, and nothing leaks.

    Args:
        contents: What each training row holds.
        missing: Splits to take from them.
    """
    places: dict[str, list[int]] = {split: [] for split in ("train", *missing)}
    for index, content in enumerate(contents):
        share = int.from_bytes(hashlib.sha256(content).digest()[:8]) / 2**64
        slot = int(share / HELD_OUT)
        places[missing[slot] if slot < len(missing) else "train"].append(index)
    return places


def disjoint(keys: Mapping[str, Sequence[Hashable]]) -> dict[str, list[int]]:
    """Rows of each split whose key is in no later split.

    Args:
        keys: What tells the rows of each split apart, the splits in their order.
    """
    later: set[Hashable] = set()
    kept: dict[str, list[int]] = {}
    for split in reversed(list(keys)):
        kept[split] = [index for index, key in enumerate(keys[split]) if key not in later]
        later.update(keys[split])
    return {split: kept[split] for split in keys}
