"""Trials of earlier searches with the same function, from which its sampler learns.

They are no trials of the search: neither counted nor on its frontier.
"""

from __future__ import annotations

from collections.abc import Iterator

from search.pareto import in_finish_order
from search.samplers.functions.design import Finished, cause_of
from search.storage.errors import StudyError
from search.storage.function_study import FunctionStudy
from spaces.file.storage import Locations


def earlier_trials(study: FunctionStudy) -> list[Finished]:
    """What the sampler of a study learns from beforehand.

    Raises:
        StudyError: One of its ``from_searches`` does not exist, or has another version of the
            function, other dimensions, or no such objectives.
    """
    return [each for name in study.search.from_searches for each in _trials(study, name)]


def warm_start_report(study: FunctionStudy) -> list[str]:
    """What a search learns from beforehand, a line for each earlier search.

    Raises:
        StudyError: As ``earlier_trials``.
    """
    search = study.search
    if search.from_searches and search.sampler != "frontier":
        return [
            f"from_searches: the sampler {search.sampler} learns nothing from earlier searches; "
            "frontier does"
        ]
    return [
        f"from_searches: {len(list(_trials(study, name)))} trials of {name}"
        for name in search.from_searches
    ]


def _trials(study: FunctionStudy, name: str) -> Iterator[Finished]:
    """The finished trials of an earlier search, with all of their metrics."""
    earlier = _opened(study, name)
    for record in in_finish_order(earlier.records()):
        params = record.configuration.params
        if not record.is_complete:
            yield Finished(params, {}, cause_of(record.state))
            continue
        result = {**record.result["metrics"], **record.result}
        for metric in study.search.required:
            if metric not in result:
                raise StudyError(
                    f"from_searches: trial {record.number} of {name!r} has no {metric}, which is "
                    "an objective or limited here; allowed: searches whose trials have it"
                )
        yield Finished(params, result)


def _opened(study: FunctionStudy, name: str) -> FunctionStudy:
    try:
        earlier = FunctionStudy.load(name, Locations.of(study.search.storage).study_url)
    except StudyError as error:
        raise StudyError(f"from_searches: {error}") from error
    one, other = earlier.search, study.search
    score = next(iter(other.objectives.items()))
    differing = [
        *(["another version"] if one.version != other.version else []),
        *(["another first objective"] if next(iter(one.objectives.items())) != score else []),
        *(["other dimensions"] if {*one.space} != {*other.space} else []),
    ]
    if differing:
        raise StudyError(
            f"from_searches: {name!r} has {' and '.join(differing)}, so that its scores say "
            "nothing of this search; allowed: searches of the same function, whose dimensions "
            "have the same names, and perhaps other values"
        )
    return earlier
