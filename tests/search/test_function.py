"""``tlc.run(space, objective=function)``: a search whose training is the user's own."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

import tlc
from search.tracking.tracker import sync_all
from spaces.file.storage import Locations, Storage
from tests.search.conftest import Tlc, connected_to_ray, mlflow_runs
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
LIMIT_MB = 2.5
SEARCH = {
    "name": "mine",
    "space": {
        "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True, "count": 9},
        "depth": {"low": 1, "high": 4},
        "optimizer": {"choices": ["adamw", "lion"]},
        "tied": {"choices": [True, False]},
    },
    "objectives": {"accuracy": "maximize", "size_mb": "minimize"},
    "constraints": {"max_size_mb": LIMIT_MB},
    "trials": 12,
    "concurrency": 1,
}


def size_of(values: Mapping[str, Any]) -> dict[str, float]:
    return {"size_mb": values["depth"] * (0.6 if values["tied"] else 1.0)}


def stages_of(values: Mapping[str, Any]) -> list[Any]:
    return [("pretrained", values["depth"])]


def accuracy_of(values: Mapping[str, Any]) -> float:
    rate = math.log10(values["learning_rate"]) + 3.0
    better = 0.05 * (values["optimizer"] == "lion")
    return 0.6 + 0.05 * values["depth"] + better - 0.05 * rate**2


def train(trial: Any) -> dict[str, float]:
    """Uses a stage, and fails in the fourth trial."""
    made = trial.stage(
        ("pretrained", trial.depth),
        lambda folder: (folder / "weights.txt").write_text(str(trial.depth)),
    )
    assert int((made / "weights.txt").read_text()) == trial["depth"] == trial.params["depth"]
    (trial.folder / "log.txt").write_text(f"{trial.seed} {dict(trial)}")
    if trial.number == 3:
        raise ArithmeticError("the loss exploded")
    return {"accuracy": accuracy_of(trial), "f1": 0.5, "accuracy@5": 0.9}


@dataclass(frozen=True)
class Finished:
    """A finished search, and the command line in its folder."""

    command: Tlc
    results: Any


@pytest.fixture(scope="module")
def command(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tlc]:
    """A home with an MLflow database, and a Ray that this process is connected to."""
    made = Tlc(tmp_path_factory.mktemp("function"))
    (made.folder / "home").mkdir()
    shutil.copy(empty_mlflow, made.folder / "home" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch, connected_to_ray():
        patch.setenv("TLC_HOME", str(made.folder / "home"))
        for name in ("MLFLOW_TRACKING_URI", "TLC_STUDY"):
            patch.delenv(name, raising=False)
        yield made


@pytest.fixture(scope="module")
def finished(command: Tlc) -> Finished:
    """A search with dimensions of every kind, known costs, a stage, and failing trials."""
    results = tlc.run(SEARCH, objective=train, cost=size_of, stages=stages_of)
    return Finished(command, results)


def test_every_trial_is_recorded_once_and_none_breaks_a_known_limit(finished: Finished) -> None:
    trials = finished.results.trials()
    assert finished.results.state == "finished"
    assert list(trials.index) == list(range(12))
    assert len(trials[list(SEARCH["space"])].drop_duplicates()) == 12
    for _, row in trials.iterrows():
        assert size_of(row)["size_mb"] <= LIMIT_MB
        if row["state"] == "complete":
            assert row["accuracy"] == pytest.approx(accuracy_of(row))
            assert row["size_mb"] == size_of(row)["size_mb"]
            assert row["f1"] == 0.5
    assert set(trials["state"]) <= {"complete", "error"}


def test_a_stage_is_made_once(finished: Finished) -> None:
    trials = [finished.results.trial(number) for number in range(12)]
    complete = [trial for trial in trials if trial.state == "complete"]
    for depth in {trial.params["depth"] for trial in trials}:
        (key,) = {key for t in complete if t.params["depth"] == depth for key in t.stages}
        assert json.loads(key) == ["pretrained", depth]
        made = [t for t in complete if t.params["depth"] == depth and t.stages[key] is not None]
        failed = [t for t in trials if t.params["depth"] == depth and t.state == "error"]
        assert len(made) == 1 or (not made and failed)


def test_the_answers_agree_with_the_trials(finished: Finished) -> None:
    results = finished.results
    complete = results.trials().query("state == 'complete'")
    best = results.best()
    assert best.trial.metrics["accuracy"] == complete["accuracy"].max()
    assert (Path(best.trial.folder) / "log.txt").read_text().startswith("0 {'learning_rate'")
    small = results.best(max_size_mb=1.0)
    assert small.trial.metrics["accuracy"] == complete.query("size_mb <= 1")["accuracy"].max()
    frontier = results.frontier()
    assert frontier["size_mb"].is_monotonic_increasing
    assert frontier["accuracy"].is_monotonic_increasing
    with pytest.raises(tlc.NoModelWithinLimits, match="the nearest exceeds: size_mb") as error:
        results.best(max_size_mb=0.1)
    assert error.value.nearest.misses["size_mb"] > 1
    assert repr(results).startswith("<search 'mine', finished: ")
    assert "<table" in results._repr_html_()


def test_a_prediction_is_near_what_the_function_would_return(finished: Finished) -> None:
    results = finished.results
    tried = results.best().trial
    known = results.predict(**tried.params)
    assert known.trial == tried.trial
    assert known.score_low < tried.metrics["accuracy"] < known.score_high
    assert known.costs["size_mb"] == pytest.approx(tried.metrics["size_mb"])
    with pytest.raises(tlc.PredictionError, match="depth: 9 is not in this search"):
        results.predict(**{**tried.params, "depth": 9})


def test_the_command_line_answers(finished: Finished) -> None:
    ask, results = finished.command.ask, finished.results
    best = json.loads(ask("best", "mine", "--max-size-mb", "1", "--json").stdout)
    assert best == results.best(max_size_mb=1).model_dump(mode="json")
    complete = len(results.trials().query("state == 'complete'"))
    assert f"{complete}/12" in ask("list").stdout
    assert tlc.searches().loc["mine", ["complete", "metric"]].to_list() == [complete, "accuracy"]
    assert "maximize accuracy, minimize size_mb" in ask("show", "mine").stdout
    assert "optimizer lion" in ask("frontier", "mine").stdout
    assert "learning_rate" in ask("trials", "mine", "--state", "complete").stdout
    assert ask("status", "mine").stdout == "finished\n"
    stopped = ask("stop", "mine")
    assert (stopped.returncode, stopped.stderr) == (
        2,
        "error: search 'mine' is not running; it is finished\n",
    )
    values = [f"{name}={json.dumps(v)}" for name, v in results.best().trial.params.items()]
    assert "tried in trial #" in ask("what-if", "mine", *values).stdout
    for verb in (["export", "mine", "--to", "there"], ["claims", "mine"]):
        refused = ask(*verb)
        assert refused.returncode == 2
        assert "has a function as its objective" in refused.stderr


def test_the_report_has_every_dimension_and_the_failures(finished: Finished) -> None:
    printed = finished.command.ask("report", "mine")
    path = finished.command.folder / "home" / "reports" / "mine" / "report.html"
    assert printed.stdout == f"report: {path}\n"
    page = path.read_text()
    for dimension in SEARCH["space"]:
        assert f"<b>{dimension}</b>" in page
    best = finished.results.best().trial
    assert f"The best trial is #{best.trial}, {best.text}" in page
    assert "maximize accuracy, minimize size_mb" in page
    assert "ArithmeticError: the loss exploded" in page
    assert finished.results.report(finished.command.folder / "there").read_text() == page


def test_trials_are_runs_of_mlflow(finished: Finished) -> None:
    where = Locations.of(Storage())
    sync_all(where.study_url, where)
    parent, nested = mlflow_runs(where, "mine")
    trials = finished.results.trials()
    assert parent.info.status == "FINISHED"
    client = MlflowClient(where.tracking_uri)
    page = client.download_artifacts(parent.info.run_id, "frontier/frontier.html")
    assert "accuracy against size_mb" in Path(page).read_text()
    history = client.get_metric_history(parent.info.run_id, "complete")
    assert [metric.step for metric in history] == list(range(1, 13))
    assert [metric.value for metric in history][-1] == sum(trials["state"] == "complete")
    assert parent.data.metrics["best_accuracy"] == trials["accuracy"].max()
    assert sorted(map(int, nested)) == list(trials.index)
    for number, row in trials.iterrows():
        run = nested[str(number)]
        assert run.data.params["optimizer"] == row["optimizer"]
        if row["state"] == "complete":
            assert run.data.metrics["accuracy"] == row["accuracy"]
            assert run.data.metrics["accuracy_5"] == row["accuracy@5"]
            assert run.data.tags["on_frontier"] == str(row["on_frontier"]).lower()
        else:
            assert run.info.status == "FAILED"


def test_the_same_call_resumes_and_another_search_of_the_name_is_refused(
    finished: Finished,
) -> None:
    again = tlc.run(SEARCH, objective=train, cost=size_of, stages=stages_of)
    assert again.trials().equals(finished.results.trials())
    for change, field in (
        ({"constraints": {}}, "constraints"),
        ({"version": "2"}, "version"),
        ({"objectives": {"accuracy": "maximize"}}, "objectives"),
    ):
        with pytest.raises(tlc.BusyStudy, match=f"exists with another {field}"):
            tlc.run({**SEARCH, **change}, objective=train)
    opened = tlc.open("mine")
    assert opened.trials().equals(again.trials())
    for verb in ("export", "claims", "levels", "confirm", "register"):
        with pytest.raises(tlc.UserError, match="function"):
            getattr(opened, verb)()


def returns(trial: Any) -> Any:
    """Something else for each value of ``what``."""
    if trial.what == "dies" and not (trial.folder / "died").exists():
        (trial.folder / "died").touch()
        os._exit(1)
    if trial.what == "raises":
        raise RuntimeError("no such luck")
    return {
        "nan": {"loss": np.float32("nan"), "params": np.int64(1)},
        "nothing": None,
        "missing": {"los": 1.0, "params": 1},
        "text": {"loss": "low", "params": 1},
        "negative": {"loss": 1.0, "params": -1},
        "own": {"loss": 1.0, "params": 1, "seconds": 3.0},
    }.get(trial.what, {"loss": 1, "params": 2})


@pytest.mark.slow
def test_a_trial_that_fails_says_why_and_the_search_goes_on(command: Tlc) -> None:
    choices = [
        "good",
        "raises",
        "nan",
        "nothing",
        "missing",
        "text",
        "negative",
        "own",
        "dies",
        "last",
    ]
    results = tlc.run(
        {
            "name": "failing",
            "space": {"what": {"choices": choices}},
            "objectives": {"loss": "minimize", "params": "minimize"},
            "sampler": "grid",
            "trials": len(choices),
            "concurrency": 1,
        },
        objective=returns,
    )
    trials = results.trials()
    found = {row["what"]: (row["state"], row["message"]) for _, row in trials.iterrows()}
    assert {what for what in found if found[what][0] == "complete"} == {"good", "dies", "last"}
    assert found["raises"] == ("error", "RuntimeError: no such luck")
    assert found["nan"] == ("not_finite", "loss: is nan; a finite number is allowed")
    assert (
        'returned None, of type NoneType; allowed: {"loss": …, "params": …}'
        in (found["nothing"][1])
    )
    assert (
        found["missing"][1] == "loss: is missing in what the function returned; it has los, params"
    )
    assert found["text"][1] == "loss: is 'low', of type str; a number is allowed"
    assert found["negative"][1] == "params: is -1; a cost is a number above 0"
    assert found["own"][1] == ("seconds: is what trials have already; give the metric another name")
    raised = results.trial(choices.index("raises"))
    assert "in returns\n    raise RuntimeError" in raised.traceback
    shown = command.ask("show", "failing", str(raised.trial))
    assert "raise RuntimeError" in shown.stdout


@pytest.mark.slow
def test_modules_of_the_user_are_found_by_the_workers(
    command: Tlc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the process found them only after Ray had started."""
    folder = command.folder / "modules"
    folder.mkdir()
    (folder / "my_training.py").write_text("def train(trial):\n    return {'loss': trial.x}\n")
    monkeypatch.syspath_prepend(folder)
    import my_training  # type: ignore[import-not-found]

    search = {
        "name": "modules",
        "space": {"x": {"choices": [1.5, 2.5]}},
        "objectives": {"loss": "minimize"},
        "trials": 1,
    }
    assert tlc.run(search, objective=my_training.train).best().trial.metrics["loss"] in (1.5, 2.5)


SCRIPT = """
import time
import tlc

SEARCH = {search!r}

def train(trial):
    trial.checkpoint("mine", 10, lambda folder: (folder / "step.txt").write_text("ten"))
    (trial.folder / "note.txt").write_text("before")
    if trial.number == 1:
        print("waiting", flush=True)
        time.sleep(600)
    return {{"loss": trial.x}}

tlc.run(SEARCH, objective=train, address={address!r})
"""


def resumed(trial: Any) -> dict[str, float]:
    last = trial.latest_checkpoint("mine")
    assert (last.step, (last.folder / "step.txt").read_text()) == (10, "ten")
    assert trial.latest_checkpoint("mine", up_to=9) is None
    note = trial.folder / "note.txt"
    return {"loss": trial.x, "resumed": float(note.exists())}


def test_a_search_that_was_killed_resumes_with_its_trials_and_their_files(command: Tlc) -> None:
    import ray

    search = {
        "name": "killed",
        "space": {"x": {"low": 0.0, "high": 1.0, "step": 0.25}},
        "objectives": {"loss": "minimize"},
        "sampler": "random",
        "trials": 3,
        "concurrency": 1,
    }
    address = ray.get_runtime_context().gcs_address
    script = command.folder / "script.py"
    script.write_text(SCRIPT.format(search=search, address=address))
    output = command.folder / "killed.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=command.folder,
            env=command.environment(PYTHONPATH=str(ROOT)),
            stdout=file,
            stderr=file,
        )
    notes = command.folder / "home" / "trials"

    def second_runs() -> bool:
        assert process.poll() is None, output.read_text()
        return any(notes.glob("killed-*/1/note.txt"))

    try:
        wait_for("the second trial", second_runs)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = tlc.open("killed").trials().loc[[0]]
    results = tlc.run(search, objective=resumed)
    trials = results.trials()
    assert list(trials["state"]) == ["complete"] * 3
    columns = ["state", "x", "loss", "seconds", "started", "finished"]
    assert trials.loc[[0], columns].equals(before[columns])
    assert trials.loc[1, "resumed"] == 1.0
    assert trials.loc[2, "resumed"] == 0.0
    assert results.best().trial.metrics["loss"] == trials["loss"].min()
    assert list(results.frontier().index) == [results.best().trial.trial]


@pytest.mark.usefixtures("command")
def test_what_cannot_work_is_refused_before_anything_runs() -> None:
    def never(trial: Any) -> dict[str, float]:
        raise AssertionError

    def refused(match: str, objective: Any = never, **change: Any) -> None:
        options = {key: change.pop(key) for key in ("cost", "stages") if key in change}
        with pytest.raises(tlc.UserError, match=match):
            tlc.run({**SEARCH, "name": "refused", **change}, objective=objective, **options)

    refused("constraints.max_size_mb: nothing can meet 0.1; the nearest in this space is 0.6",
            constraints={"max_size_mb": 0.1}, cost=size_of)  # fmt: skip
    refused("cost: size_mb is 0; a cost is a number above 0", cost=lambda _: {"size_mb": 0})
    refused("cost: returned 1.5, of type float; allowed: numbers above 0 by name",
            cost=lambda _: 1.5)  # fmt: skip
    refused("cost: accuracy is a score here", cost=lambda _: {"accuracy": 0.5})
    refused("cost: depth is what trials have already", cost=lambda _: {"depth": 1.0})
    refused("cost: {'size_mb': 1} cannot be called", cost={"size_mb": 1})
    refused("stages: TypeError: returned the text 'pretrained'", stages=lambda _: "pretrained")
    refused("from_searches: 'a' is there twice", from_searches=["a", "a"])
    refused("cost: KeyError: 'width'", cost=lambda values: {"size_mb": values["width"]})
    refused("space.seed: trials have this already", space={"seed": {"choices": [1]}})
    refused("objectives.accuracy: input should be 'maximize' or", objectives={"accuracy": "max"})
    refused("constraints.expressions.0: size_mb is not known before a trial; allowed: depth",
            constraints={"expressions": ["size_mb < 2"]})  # fmt: skip
    refused("optimizer is never 'adam'", constraints={"expressions": ["optimizer == 'adam'"]})
    refused("hold for no point of this space", constraints={"expressions": ["depth > 9"]})
    refused(
        "constraints.expressions.0: 'depth' is a number", constraints={"expressions": ["depth"]}
    )
    refused("constraints.size: must look like max_size_mb", constraints={"size": 1.0})
    refused("stop: auto needs sampler: frontier", stop="auto", sampler="tpe")
    refused("from_searches: 'refused' is this search itself", from_searches=["refused"])
    refused("from_searches: no search named 'none'", from_searches=["none"])
    refused("space.depth: give choices, or both low and high", space={"depth": {"low": 1}})
    refused("space.depth.high: input should be less", space={"depth": {"low": 1, "high": 10**400}})
    refused("trails: is not a known key; did you mean trials?", trails=3)
    refused("resources.gpus: a trial asks for 8 on one node", resources={"gpus": 8.0})
    lock = threading.Lock()
    refused("objective: Ray cannot send it", objective=lambda _: lock.locked())
    refused("objective: 3 cannot be called", objective=3)
    with pytest.raises(tlc.UserError, match="cost and stages belong to"):
        tlc.run(SEARCH, cost=size_of)


@pytest.mark.slow
@pytest.mark.usefixtures("command")
def test_the_example_with_a_trainer_runs_and_finds_a_good_model() -> None:
    path = ROOT / "examples" / "trainer.py"
    script = path.read_text().replace('"trials": 6,', '"trials": 2, "concurrency": 1,')
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script, str(path), "exec"), names)
    results = names["results"]
    trials = results.trials()
    assert list(trials["state"]) == ["complete"] * 2, list(trials["message"])
    best = results.best().trial
    assert best.metrics["accuracy"] > 0.75
    assert (Path(best.folder) / "checkpoint-60").is_dir()
