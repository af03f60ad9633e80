"""Peak memory of models, as a cost of a search."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from objectives.failures import TrialFailure
from objectives.objective import Objective
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

SMALL = Configuration(Architecture.of(1, 32), 40, Compression())
WIDE = Configuration(Architecture.of(1, 512), 40, Compression())


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_memory_is_a_cost_with_a_limit(make_search: Callable[..., SearchFile]) -> None:
    objective = Objective(make_search(constraints__max_memory_mb=1e6))
    small, wide = (objective.meters.of_untrained("memory_mb", each) for each in (SMALL, WIDE))
    # Of four matrices of attention and two of the feed-forward block, in fp32.
    weights_mb = 4 * 12 * 512**2 / 1e6
    assert isinstance(wide, float)
    assert isinstance(small, float)
    assert weights_mb < wide - small < 8 * weights_mb
    assert objective.evaluate(SMALL).to_dict()["memory_mb"] == pytest.approx(small, abs=3.0)

    limited = Objective(make_search(constraints__max_memory_mb=wide / 2))
    with pytest.raises(TrialFailure, match=r"memory .* MB, more than"):
        limited.evaluate(WIDE)
