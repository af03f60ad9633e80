"""The sampler that a search file names."""

from __future__ import annotations

from search.samplers.base import StudySampler
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace, StoredBy
from search.samplers.optuna_samplers import FeasibleSampler
from spaces.file.sampler_names import SamplerName
from spaces.grid.search_space import SearchSpace


def make_sampler(
    name: SamplerName,
    space: SearchSpace,
    *,
    seed: int,
    trials: int,
    finished: int,
    stops: bool,
    stored: StoredBy | None,
) -> StudySampler:
    """The sampler with a name.

    Args:
        trials: Trials of the whole search.
        finished: Trials that an earlier run of the search finished.
        stops: Whether ``frontier`` ends the search when the expected gain has become small.
        stored: What earlier searches left in the store, which ``frontier`` need not train.
    """
    if name == "frontier":
        return FrontierSampler(SearchDesignSpace(space, stored), seed=seed, stops=stops)
    # A resumed search must not draw the same numbers again.
    return FeasibleSampler(space, name, seed=seed + finished, trials=trials)
