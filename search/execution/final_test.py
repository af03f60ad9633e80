"""The test split, which is read only here: once for each member of the final frontier."""

from __future__ import annotations

from itertools import chain

from search.execution.listener import Listener
from search.execution.trainable import RemoteFunctions, test_scores
from search.pareto import frontier
from search.storage.states import ERROR
from search.storage.study import Study
from search.storage.trials import TrialRecord

TESTS_PER_TASK = 16
"""Models that one process scores on the test split: it takes longer to start than to score one."""


def untested_members(study: Study) -> list[TrialRecord]:
    """Members of the frontier for which the test split was not read."""
    known = study.tests()
    return [r for r in frontier(study.records(), study.search.criteria) if r.number not in known]


def test_frontier(study: Study, remote: RemoteFunctions, listener: Listener) -> None:
    """Read the test split, once for each member of the final frontier."""
    import ray

    members = untested_members(study)
    models = [member.result["model"] for member in members]
    tasks = [
        remote.submit(test_scores, models[start : start + TESTS_PER_TASK])
        for start in range(0, len(models), TESTS_PER_TASK)
    ]
    scores = chain.from_iterable(map(ray.get, tasks))
    for member, score in zip(members, scores, strict=True):
        if score.get("state") == ERROR:
            listener.warn(
                f"#{member.number} could not be scored on the test split; the same command "
                f"tries again: {score['message'].strip().splitlines()[-1]}"
            )
        else:
            study.set_test(member.number, score)
