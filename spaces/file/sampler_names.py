"""The samplers that a search can name, and what does not suit them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

SamplerName = Literal["frontier", "tpe", "gp", "nsgaii", "random", "grid"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)


def sampler_faults(
    sampler: SamplerName, stop: str, name: str, earlier: Sequence[str]
) -> Iterator[str]:
    """What does not suit a sampler: an end that it cannot forecast, or what it is to learn from.

    Args:
        stop: When the search ends, ``auto`` or ``trials``.
        name: Of the search.
        earlier: Names of the searches that it learns from.
    """
    if name in earlier:
        yield f"from_searches: {name!r} is this search itself; allowed: other searches"
    for each in dict.fromkeys(earlier):
        if earlier.count(each) > 1:
            yield f"from_searches: {each!r} is there twice; give each search once"
    if stop == "auto" and sampler != "frontier":
        yield (
            "stop: auto needs sampler: frontier, which forecasts the gain of a trial; "
            f"{sampler} does not"
        )
