"""What follows each finished trial without reading the others again is what reading all gives."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from optuna.samplers import RandomSampler

from search import seeds
from search.cli.printing.progress import Reached
from search.hypervolume import Growth, Scale, hypervolume_history
from search.pareto import best, frontier, in_finish_order
from search.storage.study import Study
from search.storage.trials import BEGINNING
from search.tracking.search_run import SearchMetrics
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_result
from tests.search.test_restating import FAST, MADE, SLOW, result


def test_each_step_agrees_with_all_the_trials(study: Study) -> None:
    study.optuna.sampler = RandomSampler(seed=0)
    rng, criteria, scale = random.Random(0), study.criteria, Scale.of(study.space)
    final, reached = seeds.Tested(), Reached()
    growth, metrics = Growth(criteria, scale), SearchMetrics(criteria, scale)
    mark, seen, volumes, last = BEGINNING, [], [], []
    for _ in range(6):
        # They do not finish in the order in which they started.
        numbers = [study.ask().number for _ in range(3)]
        rng.shuffle(numbers)
        for number in numbers[:2]:
            if rng.random() < 0.2:
                study.tell_failure(number, "diverged", "made up")
            else:
                made = made_up_result(round(rng.random(), 1), round(0.1 + rng.random(), 1))
                study.tell_result(number, made)
        if complete := [each for each in study.records() if each.is_complete]:
            repeat = study.repeat(rng.choice(complete).number, seed=rng.randint(1, 9))
            if rng.random() < 0.5:
                study.tell_result(repeat.number, made_up_result(0.5, 0.1))
        changes = study.changes(mark)
        mark = changes.mark
        for record in changes.finished:
            if record.repeats is None:
                reached.add(record, criteria)
                volumes.append(growth.add(record))
                metrics.add(record)
                last = metrics.after(record)
        seen += changes.finished
        records, repeats = study.records_and_repeats()
        every = [*records, *repeats]
        assert seen == in_finish_order(every)
        assert changes.running == sorted(
            (each for each in every if not each.is_finished), key=lambda each: each.number
        )
        assert reached == Reached.of(records, criteria)
        assert reached.members == frontier(records, criteria)
        assert reached.leader == best(records, criteria, {})
        assert volumes == hypervolume_history(records, criteria, scale)
        assert {each.key: each.value for each in last}["hypervolume"] == volumes[-1]
        whole = seeds.tested(records, repeats, criteria)
        found = final.update(study.changes(final.mark), study.criteria)
        assert {each.number: each for each in found} == {each.number: each for each in whole}
        assert len(found) == len(whole)


def test_all_is_read_again_where_latencies_are_restated(
    make_search: Callable[..., SearchFile], home: Path, empty_database: Path
) -> None:
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    study, final = Study.open(make_search(**MADE), f"sqlite:///{home / 'study.db'}"), seeds.Tested()
    study.tell_result(study.ask().number, result(0.9, SLOW))
    first = study.changes()
    assert final.update(study.changes(final.mark), study.criteria) == []  # It is above the limit.
    study.tell_result(study.ask().number, result(0.5, FAST))
    changes = study.changes(first.mark)
    assert (changes.is_whole, [each.number for each in changes.finished]) == (True, [0, 1])
    assert changes.finished[0].result["latency_ms"] < first.finished[0].result["latency_ms"]
    records, repeats = study.records_and_repeats()
    assert final.update(study.changes(final.mark), study.criteria) == seeds.tested(
        records, repeats, study.criteria
    )
    assert study.changes(changes.mark).finished == []
