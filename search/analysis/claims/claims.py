"""The six claims of Li et al. 2020 (arXiv 2002.11794), in order."""

from __future__ import annotations

from search.analysis.claims.depth_or_width import wide_is_as_good
from search.analysis.claims.early_stopping import stops_early
from search.analysis.claims.equal_bytes import beats_dense
from search.analysis.claims.model_size import at_equal_compute, at_equal_steps
from search.analysis.claims.resampling import Resampled
from search.analysis.claims.robustness import shrinks_with_size
from search.analysis.claims.verdict import Verdict

CLAIMS = (
    at_equal_compute,
    at_equal_steps,
    shrinks_with_size,
    beats_dense,
    stops_early,
    wide_is_as_good,
)


def judge(data: Resampled) -> list[Verdict]:
    """The answer to each claim."""
    return [claim(data) for claim in CLAIMS]
