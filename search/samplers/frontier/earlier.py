"""Trials of earlier searches, from which the ``frontier`` sampler learns (``from_searches``).

They are observations of its Gaussian process, also where their configuration is no point of the
space, and teach its cost model. They are no trials of the search: neither counted nor on its
frontier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from search.pareto import in_finish_order
from search.samplers.frontier.history import CAUSES, FailureCause, Trial
from search.storage.errors import StudyError
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration, differing_keys
from spaces.cost.criteria import Criteria
from spaces.cost.units import BudgetUnit
from spaces.file.sources import SOURCE_FIELDS
from spaces.file.storage import Locations
from spaces.file.training import WITHOUT_EFFECT
from spaces.file.training_space import searchable_values


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial of an earlier search.

    Args:
        unit: Of its budget and recovery.
        steps: What its budget bought.
        recovery_steps: Steps after pruning.
        settings: Fields of its training that can be searched, by name.
        outcome: Its result, without a run and a compression of a design space.
    """

    configuration: Configuration
    unit: BudgetUnit
    steps: int
    recovery_steps: int
    settings: Mapping[str, float]
    outcome: Trial


def earlier_trials(study: Study) -> list[EarlierTrial]:
    """What the sampler of a study learns from beforehand.

    Raises:
        StudyError: One of its ``from_searches`` does not exist, or has another task, data or
            metric.
    """
    return [
        each
        for name in study.search.from_searches
        for each in _trials(_opened(study, name), study.criteria)
    ]


def warm_start_report(study: Study) -> list[str]:
    """What a search learns from beforehand, a line for each earlier search.

    Raises:
        StudyError: As ``earlier_trials``.
    """
    search, lines = study.search, list[str]()
    if search.from_searches and search.sampler != "frontier":
        return [
            f"from_searches: the sampler {search.sampler} learns nothing from earlier searches; "
            "frontier does"
        ]
    for name in search.from_searches:
        earlier = _opened(study, name)
        lines.append(
            f"from_searches: {len(list(_trials(earlier, study.criteria)))} trials of {name}"
        )
        if others := _other_training(study, earlier):
            lines.append(
                f"from_searches: {name} has another {', '.join(others)}; its scores count as if "
                "they were of this search"
            )
    return lines


@dataclass
class Placed:
    """Earlier trials in a design space, to which they add runs and compressions.

    Args:
        runs: A trial of each run that is added.
        compressions: What is added, each with its steps of recovery.
        trials: All of the trials, with their run and compression.
    """

    runs: list[EarlierTrial] = field(default_factory=list)
    compressions: list[tuple[Compression, int]] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)


def placed(
    earlier: Iterable[EarlierTrial],
    sizes: tuple[int, int],
    run_of: Callable[[EarlierTrial], int | None],
    compression_of: Callable[[EarlierTrial, int | None], int | None],
) -> Placed:
    """Give earlier trials a run and a compression: one of the space, or one that is added.

    Args:
        sizes: Runs and compressions of the space.
        run_of: The run of the space that a trial trained; None where there is none.
        compression_of: The same of its compression.
    """
    found = Placed()
    runs: dict[object, int] = {}
    compressions: dict[object, int] = {}
    for each in earlier:
        run = own = run_of(each)
        if run is None:
            configuration, settings = each.configuration, tuple(sorted(each.settings.items()))
            key = configuration.architecture, each.steps, configuration.seed, settings
            if key not in runs:
                runs[key] = sizes[0] + len(found.runs)
                found.runs.append(each)
            run = runs[key]
        compression = compression_of(each, own)
        if compression is None:
            added = each.configuration.compression, each.recovery_steps
            if added not in compressions:
                compressions[added] = sizes[1] + len(found.compressions)
                found.compressions.append(added)
            compression = compressions[added]
        found.trials.append(replace(each.outcome, run=run, compression=compression))
    return found


def _opened(study: Study, name: str) -> Study:
    search = study.search
    try:
        earlier = Study.load(name, Locations.of(search.storage).study_url)
    except StudyError as error:
        raise StudyError(f"from_searches: {error}") from error
    one, other = (each.search.model_dump(mode="json") for each in (earlier, study))
    for each in (one, other):
        # The fingerprint is that of the sources, and not that of their tokens.
        each["data"] = {k: v for k, v in each["data"].items() if k not in SOURCE_FIELDS}
    sections = (differing_keys(one[n], other[n], n) for n in ("task", "model", "data"))
    differing = [
        *chain.from_iterable(sections),
        *(["metric"] if not _has_metrics(earlier, study) else []),
        *(["data"] if earlier.data.get("fingerprint") != study.data.get("fingerprint") else []),
    ]
    if differing:
        has = "has not run yet" if not earlier.data else f"has another {', '.join(differing)}"
        raise StudyError(
            f"from_searches: {name!r} {has}, so that its scores say nothing of this search; "
            "allowed: searches of the same task, checkpoint, data and metric"
        )
    return earlier


def _has_metrics(earlier: Study, study: Study) -> bool:
    """Whether the trials of an earlier search have every score of another, the first as theirs."""
    one, other = ([each.name for each in s.criteria.metrics] for s in (earlier, study))
    return one[0] == other[0] and {*other} <= {*one}


def _trials(study: Study, criteria: Criteria) -> Iterator[EarlierTrial]:
    """Trials of an earlier study, as the criteria of another see them."""
    search, space = study.search, study.space
    fixed = searchable_values(search.training)
    for record in in_finish_order(study.records()):
        if (outcome := _outcome(record, criteria)) is not None:
            configuration = record.configuration
            steps = space.steps(
                configuration.budget,
                configuration.architecture,
                recovery=configuration.compression.recovery,
            )
            yield EarlierTrial(
                configuration,
                unit=space.schedule.unit,
                steps=max(1, steps.pretraining),
                recovery_steps=steps.recovery,
                settings=fixed | dict(configuration.training),
                outcome=outcome,
            )


def _outcome(record: TrialRecord, criteria: Criteria) -> Trial | None:
    """What a finished trial says of the quality of others; None for nothing."""
    if record.is_complete:
        return Trial.of_result(0, 0, record.result, criteria.metrics)
    return Trial(0, 0, None) if CAUSES.get(record.state) is FailureCause.MODEL else None


def _other_training(study: Study, earlier: Study) -> list[str]:
    """Fields of training in which two searches differ, and that are no features of a run."""
    one, other = (each.search.training for each in (study, earlier))
    known = {*searchable_values(one)} & {*searchable_values(other)} | {*WITHOUT_EFFECT}
    found = differing_keys(one.model_dump(mode="json"), other.model_dump(mode="json"))
    return [f"training.{name}" for name in found if name not in known]
