"""Latencies of a space before anything is trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from search import latencies
from search.latencies import known_latencies
from spaces.configuration import Configuration
from spaces.errors import UserError
from spaces.search_file import SearchFile
from spaces.search_space import SearchSpace


def milliseconds(configuration: Configuration) -> float:
    """As if latency were the product of all that makes a forward pass long."""
    architecture, compression = configuration.architecture, configuration.compression
    dense = architecture.depth * architecture.width**1.5 * (1 - compression.structured_sparsity / 2)
    return dense / 1000 * (0.5 if compression.quantisation.method == "static" else 1.0)


def test_every_shape_is_measured_once(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search())
    asked: list[Configuration] = []

    def measure(configurations: list[Configuration]) -> list[float]:
        asked.extend(configurations)
        return [milliseconds(c) for c in configurations]

    latency_of = known_latencies(space, measure)
    # Four architectures, dense or int8, whole or pruned: bits of stored weights change nothing.
    assert len(asked) == 4 * 2 * 2
    for configuration in map(space.configuration, space.points()):
        assert latency_of(configuration) == milliseconds(configuration)


def test_in_a_large_space_some_are_measured_and_the_others_estimated(
    make_search: Callable[..., SearchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latencies, "MOST_MEASURED", 24)
    space = SearchSpace(make_search(space__depth={"low": 1, "high": 12}))
    asked: list[Configuration] = []

    def measure(configurations: list[Configuration]) -> list[float]:
        asked.extend(configurations)
        return [milliseconds(c) for c in configurations]

    latency_of = known_latencies(space, measure)
    assert len(asked) == 24
    errors = [
        abs(latency_of(c) / milliseconds(c) - 1) for c in map(space.configuration, space.points())
    ]
    assert sorted(errors)[len(errors) // 2] < 0.1
    assert max(errors) < 0.5


def test_a_limit_that_nothing_meets_is_refused(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search(constraints__max_latency_ms=0.001))
    with pytest.raises(UserError, match=r"max_latency_ms: nothing can meet 0\.001; the fastest"):
        known_latencies(space, lambda cs: [milliseconds(c) for c in cs])
