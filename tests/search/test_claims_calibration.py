"""How often the claims decide: hardly ever by noise, and mostly where there is an effect.

Each rate is that of 40 made-up studies with the noise of real ones.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import pytest

from search.analysis.claims.measurements import Measurements, replicated
from search.analysis.claims.report import CLAIMS
from search.analysis.claims.verdict import Answer, judge
from tests.search.made_up_studies import Truth

STUDIES = 40

NOTHING = Truth(compression=True)
SAME_QUALITY = Truth(architecture_noise=0.0)
NULL = {
    1: Truth(training=-0.1, at_equal="flops"),
    2: Truth(training=-0.1),
    3: NOTHING,
    # The best of these architectures is a claim about them, so that they have no peculiarities.
    4: SAME_QUALITY,
    # Twice the training takes one per cent off.
    5: Truth(training=math.log2(0.99), at_equal="flops", budgets=(400.0, 800.0)),
    6: Truth(training=-0.1, at_equal="flops", depth=-1.0, architecture_noise=0.0),
    7: Truth(training=-0.1, at_equal="seconds"),
    8: SAME_QUALITY,
    9: SAME_QUALITY,
    10: SAME_QUALITY,
}
"""By claim: the truth lies on the bound between support and contradiction."""
LARGER_AT_EQUAL_FLOPS = Truth(size=-0.04, training=-0.1, at_equal="flops", compression=True)
LARGER_AT_EQUAL_SECONDS = Truth(size=-0.04, training=-0.1, at_equal="seconds", compression=True)
DEARER_COMPRESSION = Truth(longer=0.002, decay=0.004)
SMALLER_AT_EQUAL_FLOPS = Truth(
    size=0.08,
    training=-0.05,
    at_equal="flops",
    compression=True,
    shapes=((1, 32), (1, 64), (1, 128), (1, 256)),
)
EFFECT = {
    1: LARGER_AT_EQUAL_FLOPS,
    2: Truth(size=-0.04, training=-0.1),
    3: Truth(compression=True, robust=0.1),
    4: LARGER_AT_EQUAL_FLOPS,
    5: Truth(training=-0.1, at_equal="flops"),
    6: Truth(depth=5.0),
    7: LARGER_AT_EQUAL_SECONDS,
    8: LARGER_AT_EQUAL_SECONDS,
    9: DEARER_COMPRESSION,
    10: DEARER_COMPRESSION,
}
"""By claim: it holds, by an effect worth stating."""


def rates(truth: Truth, number: int, seeds: int) -> Counter[Answer]:
    """How often each answer is given."""
    return Counter(judge(CLAIMS[number - 1], data).answer for data in studies(truth, seeds))


@cache
def studies(truth: Truth, seeds: int) -> list[Measurements]:
    """Made-up studies, of which several claims are asked."""
    made = [replicated(truth.study(seeds, number)) for number in range(STUDIES)]
    return [data for data in made if data is not None]


@pytest.mark.slow
@pytest.mark.parametrize("number", NULL)
@pytest.mark.parametrize("seeds", [3, 5])
def test_noise_decides_in_at_most_five_per_cent_of_studies(number: int, seeds: int) -> None:
    assert rates(NULL[number], number, seeds)[Answer.UNDECIDED] >= 0.95 * STUDIES


def test_equal_shapes_never_contradict_that_width_is_as_good() -> None:
    assert rates(NOTHING, 6, 3)[Answer.CONTRADICTED] <= 0.05 * STUDIES


@pytest.mark.slow
@pytest.mark.parametrize("number", EFFECT)
def test_an_effect_is_found_in_eighty_per_cent_of_studies(number: int) -> None:
    assert rates(EFFECT[number], number, 3)[Answer.SUPPORTED] >= 0.8 * STUDIES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "truth"),
    [
        (1, Truth(size=0.04, training=-0.1, at_equal="flops")),
        (3, Truth(compression=True, robust=-0.2)),
        (4, SMALLER_AT_EQUAL_FLOPS),
        (6, Truth(depth=-8.0)),
    ],
)
def test_the_opposite_is_found_too(number: int, truth: Truth) -> None:
    assert rates(truth, number, 3)[Answer.CONTRADICTED] >= 0.8 * STUDIES
