"""What a search file leaves open: its checkpoints, and the sizes that follow its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

from objectives.data.defaults import label_deviation, with_default_sizes
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from spaces.file.own_task import OwnTask
from spaces.file.search_file import SearchFile
from spaces.file.tasks import Regression
from spaces.grid.search_space import SearchSpace
from spaces.loading import with_data, with_facts, with_task


def completed(
    search: SearchFile, folder: Path, report: Callable[[str], None] = lambda _: None
) -> tuple[SearchFile, Mapping[str, PretrainedTokenizer | None]]:
    """The search with its checkpoints opened, and with the sizes that its file leaves out.

    Args:
        folder: Of prepared data, into which data sets are downloaded.
        report: Called with a line for each thing that the file leaves open.

    Returns:
        The search, and the tokenizer of each of its checkpoints, where it has one; without a
        choice of checkpoints, under the empty name.

    Raises:
        UserError: A checkpoint, the data or the user's own task cannot be used, or the space asks
            for more than there is.
    """
    if isinstance(search.task, OwnTask):
        return _with_own_task(search, search.task, folder, report), {"": None}
    missing = search.data.missing_sizes()
    tokenizers: Mapping[str, PretrainedTokenizer | None] = {"": None}
    if search.model is not None:
        # Without a checkpoint this process needs no torch, whose import takes seconds.
        from objectives.models.checkpoint.resolve import with_checkpoints

        search, tokenizers = with_checkpoints(search, folder)
        for name in search.model.names if search.model else ():
            report(f"checkpoint: {name}")
        missing.discard("vocabulary_size")
    elif missing:
        search = with_data(search, with_default_sizes(search.data, search.task, folder))
    if isinstance(search.task, Regression) and search.task.deviation is None:
        search = with_facts(search, deviation=label_deviation(search.data, folder))
    for checkpoint, name in product(search.checkpoints or ("",), sorted(missing)):
        size = getattr(search.alone(checkpoint).data, name)
        report(f"data.{name}: {size:,}, which follows the data")
    return search, tokenizers


def _with_own_task(
    search: SearchFile, task: OwnTask, folder: Path, report: Callable[[str], None]
) -> SearchFile:
    """The search with all that arithmetic needs to know of the user's own task."""
    from objectives.tasks.own.opening import check_models, open_task

    is_pruned = any(search.space.sparsity.values)
    opened = open_task(
        task,
        folder,
        search.space.pruning.values if is_pruned else (),
        is_distilled=search.training.recovery_distillation is not None,
    )
    search = with_task(search, opened)
    space = SearchSpace(search)
    first = space.configuration(next(space.points())).architecture
    check_models(search.workload, {first, space.largest_architecture})
    report(f"task: {task.name} (code {opened.code}), scored by {search.metric.name}")
    return search
