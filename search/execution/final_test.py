"""The test split, which is read only here: once for each member of the final frontier, and for each
repeat with a further seed."""

from __future__ import annotations

from itertools import chain

from search.execution.listener import Listener
from search.execution.trainable import RemoteFunctions, test_scores
from search.seeds import tested
from search.storage.states import ERROR
from search.storage.study import Study
from search.storage.trials import TrialRecord

TESTS_PER_TASK = 16
"""Models that one process scores on the test split: it takes longer to start than to score one."""


def untested(study: Study) -> list[TrialRecord]:
    """Members of the frontier, and repeats, for which the test split was not read."""
    known = study.tests()
    final = tested(*study.records_and_repeats(), study.search.criteria)
    return [record for record in final if record.number not in known]


def test_frontier(study: Study, remote: RemoteFunctions, listener: Listener) -> None:
    """Read the test split, once for each ``untested`` trial."""
    import ray

    members = untested(study)
    models = [member.result["model"] for member in members]
    largest = study.search.placement(study.space.largest_architecture)
    gpus = min(1.0, largest.gpus or 0.0)
    tasks = [
        remote.submit(test_scores, models[start : start + TESTS_PER_TASK], gpus=gpus)
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
