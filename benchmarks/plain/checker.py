"""What a fault did to a plain search: what is lost, doubled, repeated, or falsely on the front.

A result is *completed* when ``tune.report`` has returned from the report of a trial's last step,
which the trial then notes for the witness. It is lost where Tune's results, Optuna's study or
MLflow have no such result as finished, with the value it had. Where the value is not finite, it is
enough that Optuna has ended the trial, and MLflow, which changes infinity, the run. Steps are
counted as for tlc.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plain.arena import Arena
from plain.training import STEPS, path_of


@dataclass
class Score:
    """What was measured on one search after one fault.

    Args:
        lost: Completed results that are missing or changed, in any of the three.
        doubled: Results that are in any of the three more than once.
        excess: Optimiser steps that were done again although a checkpoint had them.
        false: Points of Optuna's front that do not belong there.
        recovery_seconds: From the fault, or from the restart after it, to the next step.
        exit_code: Of the last driver; None where it had to be killed.
        words: What a user sees of it.
        details: Where the figures come from.
    """

    lost: int = 0
    doubled: int = 0
    excess: int = 0
    false: int = 0
    recovery_seconds: float | None = None
    exit_code: int | None = None
    words: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def check(arena: Arena, exit_code: int | None, words: str, **details: Any) -> Score:
    """Count what a search has lost and doubled, after its last driver has ended."""
    if exit_code is None:
        # Nobody was told the results; they are what a new process can read.
        arena.kill_all()
        arena.finish(arena.start("results"))
    told = {record["trial"]: record for record in arena.witness.told()}
    tune, study, runs = tune_results(arena), optuna_trials(arena), mlflow_runs(arena)
    lost_in = {
        "tune": [t for t, record in told.items() if not _in_tune(record, tune)],
        "optuna": [t for t, record in told.items() if not _in_optuna(record, study)],
        "mlflow": [t for t, record in told.items() if not _in_mlflow(record, runs)],
    }
    doubled_in = {
        "tune": _repeated(row["trial"] for row in tune),
        "optuna": _repeated(
            path_of(trial["params"]) for trial in study if trial["state"] == "COMPLETE"
        ),
        "mlflow": _repeated(run["trial"] for run in runs),
    }
    false = false_points(arena)
    return Score(
        lost=len({trial for trials in lost_in.values() for trial in trials}),
        doubled=sum(map(len, doubled_in.values())),
        excess=len(arena.witness.excess_steps()),
        false=len(false),
        recovery_seconds=round(arena.recovery_seconds, 1) if arena.recovery_seconds else None,
        exit_code=exit_code,
        words=words,
        details={
            "completed": len(told),
            "lost_in": {where: len(trials) for where, trials in lost_in.items()},
            "doubled_in": {where: len(trials) for where, trials in doubled_in.items()},
            "false_points": false,
            "errors": sorted({row["error"] for row in tune if row["error"]}),
            "tune": dict(Counter("ERROR" if r["error"] else "ended" for r in tune)),
            "optuna": dict(Counter(trial["state"] for trial in study)),
            "mlflow": dict(Counter(run["status"] for run in runs)),
            "last_lines": arena.output.splitlines()[-3:] if exit_code else [],
            **details,
        },
    )


def tune_results(arena: Arena) -> list[dict[str, Any]]:
    """What ``Tuner.fit`` returned to the last driver that ended; nothing where none did."""
    path = arena.folder / "results.json"
    return json.loads(path.read_text()) if path.exists() else []


def optuna_trials(arena: Arena) -> list[dict[str, Any]]:
    """The trials of Optuna's study; none where it cannot be read."""
    import optuna

    from plain.driver import open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.load_study(
            study_name=arena.search.name, storage=open_storage(arena.search.study)
        )
        trials = study.get_trials(deepcopy=False)
    except Exception as error:
        # A study that cannot be read has none of the results; which error says so is no matter.
        print(f"    Optuna's study cannot be read: {error!r}")
        return []
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "params": trial.params,
            "values": trial.values,
        }
        for trial in trials
        if trial.params
    ]


def mlflow_runs(arena: Arena) -> list[dict[str, Any]]:
    """The runs that MLflow's database has of the search, with the trial that each is of."""
    database = arena.folder / "mlflow.db"
    if not database.exists():
        return []
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name(arena.search.name)
    if experiment is None:
        return []
    return [
        {
            "trial": run.data.tags["trial_name"].rpartition("_")[2],
            "status": run.info.status,
            "metrics": run.data.metrics,
            "metric_rows": _metric_rows(database, run.info.run_id),
        }
        for run in client.search_runs([experiment.experiment_id])
    ]


def _metric_rows(database: Path, run: str) -> int:
    """Rows of one metric, one of which is to be there for each report."""
    with sqlite3.connect(database) as connection:
        query = "select count(*) from metrics where run_uuid = ? and key = 'perplexity'"
        return int(connection.execute(query, (run,)).fetchone()[0])


def false_points(arena: Arena) -> list[dict[str, Any]]:
    """Members of Optuna's front without finite values, or whose trial a fault has broken."""
    import optuna

    from plain.driver import open_storage

    try:
        study = optuna.load_study(
            study_name=arena.search.name, storage=open_storage(arena.search.study)
        )
        front = study.best_trials
    except Exception:
        # Without a study there is no front; optuna_trials says why.
        return []
    broken = {line[1] for line in arena.witness.lines() if line[0] == "broken"}
    return [
        {"number": trial.number, "values": [str(value) for value in trial.values]}
        for trial in front
        if not all(map(math.isfinite, trial.values)) or path_of(trial.params) in broken
    ]


def _same(one: Any, other: Any) -> bool:
    return one == other or (one is not None and other is not None and one != one and other != other)


def _in_tune(record: dict[str, Any], results: list[dict[str, Any]]) -> bool:
    return any(
        row["trial"] == record["trial"]
        and not row["error"]
        and row["step"] == STEPS
        and _same(row["perplexity"], record["perplexity"])
        for row in results
    )


def _in_optuna(record: dict[str, Any], trials: list[dict[str, Any]]) -> bool:
    found = [trial for trial in trials if path_of(trial["params"]) == record["path"]]
    if not math.isfinite(record["perplexity"]):
        return any(trial["state"] in ("COMPLETE", "FAIL") for trial in found)
    return any(
        trial["state"] == "COMPLETE" and trial["values"][0] == record["perplexity"]
        for trial in found
    )


def _in_mlflow(record: dict[str, Any], runs: list[dict[str, Any]]) -> bool:
    return any(
        run["trial"] == record["trial"]
        and run["status"] == "FINISHED"
        and run["metrics"].get("step") == STEPS
        and (
            run["metrics"].get("perplexity") == record["perplexity"]
            or not math.isfinite(record["perplexity"])
        )
        for run in runs
    )


def _repeated(keys: Any) -> list[Any]:
    return [key for key, count in Counter(keys).items() if count > 1]
