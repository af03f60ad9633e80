"""Models before the decay of their learning rate are quantised as those after it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from objectives.objective import Objective
from objectives.store.manifest import CHECKPOINTS
from search.analysis.claims.observations import observe
from search.analysis.claims.undecayed import measure_undecayed
from search.execution.listener import Listener
from search.storage.study import Study
from spaces.file.search_file import SearchFile


class Lines(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.slow
def test_checkpoints_before_the_decay_are_quantised_once_and_without_training(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_task_search(
        "causal-lm",
        space={
            "depth": 1,
            "width": 32,
            "budget": {"unit": "steps", "choices": [20, 40]},
            "quantisation": {"choices": ["rtn-2"]},
        },
        sampler="grid",
    )
    study, objective = Study.open(search, f"sqlite:///{home / 'study.db'}"), Objective(search)
    for record in (study.ask(), study.ask()):
        study.tell_result(record.number, objective.evaluate(record.configuration).to_dict())
    checkpoints = objective.store.addresses(CHECKPOINTS)
    listener = Lines()
    measure_undecayed(study, listener)
    assert listener.lines == ["causal: quantising 2 models before their decay …"]
    assert objective.store.addresses(CHECKPOINTS) == checkpoints
    for each in observe([study]).compressed:
        assert math.isfinite(each.undecayed_cost)
        # Two bits cost a model something, and another amount before its decay.
        assert each.undecayed_cost != pytest.approx(each.cost, abs=1e-6)
    measure_undecayed(study, listener)
    assert len(listener.lines) == 1


def test_tasks_with_fine_tuning_have_no_such_checkpoints(study: Study) -> None:
    listener = Lines()
    measure_undecayed(study, listener)
    assert listener.lines == []
