"""Checks from outside whether a search kept its guarantees.

The checker reads the study's tables with SQL, the files of the store with its own hashes, MLflow
through its client, and the results of queries, and compares all of them with the event log.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, text

from search.results.queries import LONGEST_PAGE, StudyQueries

if TYPE_CHECKING:
    from tests.faults.system import SystemUnderTest

_TRIALS = """
select t.trial_id, t.number, t.state, a.key, a.value_json
from trials t join studies s on s.study_id = t.study_id
left join trial_user_attributes a on a.trial_id = t.trial_id
where s.study_name = :name order by t.number
"""


@dataclass
class Score:
    """Number of violated guarantees; all zeros is a pass.

    Args:
        lost: Completed trials that are missing or changed anywhere.
        doubled: Records that occur twice.
        excess: Optimiser steps that were repeated although a checkpoint contained them.
        false: Trials on a frontier that do not belong there.
        problems: A description of each violation.
    """

    lost: int = 0
    doubled: int = 0
    excess: int = 0
    false: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether no guarantee was violated."""
        return not (self.lost or self.doubled or self.excess or self.false)

    def found(self, kind: str, problem: str) -> None:
        """Count a violation."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.problems.append(f"{kind}: {problem}")


@dataclass(frozen=True)
class Trial:
    """A trial in the tables of the study."""

    number: int
    state: str
    attributes: dict[str, Any]

    @property
    def is_sound(self) -> bool:
        """Whether it may be on a frontier: complete, with finite results."""
        result = self.attributes.get("result", {})
        figures = [result.get(key) for key in ("score", "loss", "size_mb", "latency_ms")]
        return self.state == "COMPLETE" and all(
            isinstance(figure, int | float) and math.isfinite(figure) for figure in figures
        )


def check(system: SystemUnderTest) -> Score:
    """Check all guarantees of a search."""
    score = Score()
    trials = list(trials_in(system.study_url, system.name))
    _check_study(score, trials, system)
    _check_store(score, trials, system)
    _check_queries(score, trials, system)
    _check_mlflow(score, trials, system)
    for step in system.events.excess_steps():
        score.found("excess", f"step {step.number} of path {step.path} was repeated")
    return score


def trials_in(url: str, name: str) -> Iterator[Trial]:
    """The trials of a study, read from its tables."""
    engine = create_engine(url)
    rows: dict[int, tuple[int, str, dict[str, Any]]] = {}
    try:
        with engine.connect() as connection:
            for key, number, state, attribute, value in connection.execute(
                text(_TRIALS), {"name": name}
            ):
                entry = rows.setdefault(key, (number, state, {}))
                if attribute is not None:
                    entry[2][attribute] = json.loads(value)
    finally:
        engine.dispose()
    return (Trial(*row) for row in rows.values())


def _check_study(score: Score, trials: list[Trial], system: SystemUnderTest) -> None:
    by_number = Counter(trial.number for trial in trials)
    for number in _repeated(by_number):
        score.found("doubled", f"trial {number} is in the study {by_number[number]} times")
    committed = system.events.committed()
    for number in _repeated(Counter(record["number"] for record in committed)):
        score.found("doubled", f"trial {number} was completed more than once")
    complete = [trial for trial in trials if trial.state == "COMPLETE"]
    tried = Counter(json.dumps(t.attributes.get("configuration"), sort_keys=True) for t in complete)
    for configuration in _repeated(tried):
        score.found("doubled", f"{configuration} was evaluated twice")
    recorded = {trial.number: trial for trial in trials}
    for record in committed:
        trial = recorded.get(record["number"])
        if trial is None:
            score.found("lost", f"trial {record['number']} is not in the study")
            continue
        now = {"state": trial.state, **trial.attributes}
        changed = [
            key for key in ("state", "configuration", "result", "failure")
            if _as_measured(record.get(key)) != _as_measured(now.get(key))
        ]  # fmt: skip
        if changed:
            score.found("lost", f"trial {trial.number} has changed: {', '.join(changed)}")


def _as_measured(value: Any) -> Any:
    """An attribute of a trial without what a faster reference model corrects later."""
    if not isinstance(value, dict) or "latency" not in value:
        return value
    corrected = {"slowdown", "noisy", "best_reference_p10_ms", "best_reference_min_ms"}
    latency = {key: each for key, each in value["latency"].items() if key not in corrected}
    return {**value, "latency": latency, "latency_ms": None}


def _check_store(score: Score, trials: list[Trial], system: SystemUnderTest) -> None:
    for trial in trials:
        if trial.state != "COMPLETE":
            continue
        for kind in ("checkpoint", "model"):
            if "result" not in trial.attributes:
                score.found("lost", f"trial {trial.number} has no result")
                break
            address = trial.attributes["result"][kind]
            fault = _entry_fault(system.store / address, address)
            if fault:
                score.found("lost", f"the {kind} of trial {trial.number}: {fault}")


def _entry_fault(folder: Path, address: str) -> str:
    """The defect of an entry of the store; empty if it is intact."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        return f"{address} has no manifest: {error}"
    if not manifest["files"]:
        return f"{address} has no files"
    if manifest.get("address", address) != address:
        return f"{address} holds {manifest['address']}"
    for name, digest in manifest["files"].items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            return f"{address}/{name} does not match its SHA-256"
    return ""


def _check_queries(score: Score, trials: list[Trial], system: SystemUnderTest) -> None:
    queries = StudyQueries(system.study_url)
    page = queries.trials(system.name, limit=LONGEST_PAGE).model_dump()["trials"]
    numbers = Counter(row["trial"] for row in page)
    for number in _repeated(numbers):
        score.found("doubled", f"tlc trials has trial {number} {numbers[number]} times")
    rows = {row["trial"]: row for row in page}
    for trial in trials:
        if trial.state not in ("COMPLETE", "FAIL") or "configuration" not in trial.attributes:
            continue
        row = rows.get(trial.number)
        if row is None:
            score.found("lost", f"tlc trials lacks trial {trial.number}")
        elif (
            trial.state == "COMPLETE"
            and row["result"]["score"] != (trial.attributes["result"]["score"])
        ):
            score.found("lost", f"tlc trials has another score of trial {trial.number}")
    members = {row.trial for row in queries.frontier(system.name).members}
    _check_frontier(score, "tlc frontier", members, trials, system)


def _check_frontier(
    score: Score, where: str, members: set[int], trials: list[Trial], system: SystemUnderTest
) -> None:
    right = frontier_of(trials, system)
    for number in members - right:
        score.found("false", f"{where} has trial {number}, which does not belong there")
    for number in right - members:
        score.found("lost", f"{where} lacks trial {number}")


def frontier_of(trials: Iterable[Trial], system: SystemUnderTest) -> set[int]:
    """Numbers of the sound, feasible, non-dominated trials, by brute force."""
    search = system.search
    sign = 1.0 if search.metric.is_maximised else -1.0
    points = {
        trial.number: (sign * trial.attributes["result"]["score"], -result[search.cost.name])
        for trial in trials
        if trial.is_sound
        for result in [trial.attributes["result"]]
        if all(result[cost] <= limit for cost, limit in search.constraints.limits.items())
    }
    return {
        number
        for number, point in points.items()
        if not any(
            (other[0] >= point[0] and other[1] >= point[1] and other != point)
            # Of equal trials, only the first is a member.
            or (other == point and rival < number)
            for rival, other in points.items()
        )
    }


def _check_mlflow(score: Score, trials: list[Trial], system: SystemUnderTest) -> None:
    runs = system.mlflow_runs()
    keys = Counter(run.data.tags["tlc.key"].rpartition("/")[2] for run in runs)
    for key in _repeated(keys):
        score.found("doubled", f"MLflow has {keys[key]} runs of {key}")
    found = {run.data.tags["tlc.key"].rpartition("/")[2]: run for run in runs}
    metric = system.search.metric.name
    for trial in trials:
        if trial.state not in ("COMPLETE", "FAIL") or "configuration" not in trial.attributes:
            continue
        run = found.get(str(trial.number))
        if run is None or run.info.status == "RUNNING":
            score.found("lost", f"MLflow lacks trial {trial.number}")
        elif trial.state == "COMPLETE":
            value = run.data.metrics.get(metric)
            if value != trial.attributes["result"]["score"]:
                score.found("lost", f"MLflow has {metric} {value} for trial {trial.number}")
    members = {int(key) for key, run in found.items() if run.data.tags.get("on_frontier") == "true"}
    _check_frontier(score, "MLflow", members, trials, system)


def _repeated(counts: Counter[Any]) -> list[Any]:
    return [key for key, count in counts.items() if count > 1]
