"""What a search would cost, without training."""

from __future__ import annotations

from dataclasses import dataclass

from objectives.completion import completed
from objectives.data.batch_lengths import batch_lengths
from objectives.data.inspection.overview import Overview, overview
from objectives.data.prepare import find_prepared, prepare
from search.execution.gpus.discovery import as_planned, trials_here
from search.proposal.machine import cores, gpus
from spaces.file.storage import Locations
from spaces.grid.gpus import least_placement
from spaces.grid.plan import Plan, make_plan
from spaces.grid.search_space import SearchSpace
from spaces.loading import Overrides, SearchLike, read_search


@dataclass(frozen=True)
class PlannedSearch:
    """The plan of a search.

    Args:
        name: Name of the search.
        warnings: What a person should know of its data, where it was prepared before.
        trials_at_a_time: Trials that run at the same time; None where a cluster decides.
    """

    name: str
    plan: Plan
    warnings: list[str]
    trials_at_a_time: int | None


def plan_search(given: SearchLike, overrides: Overrides = ()) -> PlannedSearch:
    """Plan a search.

    Args:
        given: A path, the name of a ready-made search, a mapping or a search file.
        overrides: Fields to override, as of ``read_search``.

    Raises:
        UserError: The search file, its checkpoints or its data cannot be read.
    """
    search = read_search(given, overrides)
    folder = Locations.of(search.storage).data
    search, tokenizers = completed(search, folder)
    prepared = {
        name: found
        for name, each in tokenizers.items()
        if (found := find_prepared(search.alone(name).data, search.task, folder, each)) is not None
    }
    lengths = {
        name: batch_lengths(each, search.task.name, search.training.batch_size)
        for name, each in prepared.items()
    }
    machine = {"gpus": gpus(), "cores": cores()}
    resources = as_planned(search.resources, search.address, **machine)
    search = search.model_copy(update={"resources": resources})
    space = SearchSpace(search, lengths=lengths.get)
    at_a_time = search.concurrency
    if at_a_time is None and search.address is None:
        at_a_time = trials_here(least_placement(space), **machine)
    plan = make_plan(
        space,
        search.trials,
        seeds=search.seeds,
        labelled_examples=next((each.labelled_examples for each in prepared.values()), None),
    )
    warnings = [warning for each in prepared.values() for warning in each.cautions()]
    return PlannedSearch(search.name, plan, warnings, at_a_time)


def look_at(given: SearchLike, overrides: Overrides = ()) -> Overview:
    """Read and prepare the data of a search, and look at it.

    Args:
        given: As of ``plan_search``.

    Raises:
        UserError: The search file, its checkpoints or its data cannot be read.
    """
    search = read_search(given, overrides)
    folder = Locations.of(search.storage).data
    search, _ = completed(search, folder)
    search = search.alone(next(iter(search.checkpoints), ""))
    if search.model is None and search.task.needs:
        return overview(prepare(search.data, search.task, folder))
    # Without a checkpoint or a task of one's own this process needs no torch.
    from objectives.tasks import prepare_for

    return overview(prepare_for(search, folder))
