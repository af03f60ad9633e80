"""The command line: answers, exit codes, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.search.conftest import Tlc

REFUSED = {
    "unknown key": ({"trails": 3}, "trails: is not a known key"),
    "missing data file": (
        {"data.labelled.train": "missing.tsv"}, "data.labelled.train: no such file: missing.tsv",
    ),
    "missing label column": (
        {"data.labelled.label": "lbl"}, "data.labelled.label: no column 'lbl'",
    ),
    "empty data set": ({"data.labelled.train": "empty.tsv"}, "empty.tsv is empty"),
    "store that cannot be written": (
        {"storage": {"store": "/proc/tlc"}}, "storage.store: /proc/tlc cannot be written",
    ),
    "study that cannot be opened": (
        {"storage": {"study": "sqlite:////proc/tlc/study.db"}}, "storage.study:",
    ),
    "cluster that is not there": (
        {"address": "127.0.0.1:9"}, "address: no Ray cluster at 127.0.0.1:9",
    ),
}  # fmt: skip


@pytest.mark.usefixtures("mlflow_made")
@pytest.mark.parametrize("name", REFUSED)
def test_an_impossible_search_is_refused_before_any_compute(
    name: str, tlc: Tlc, document: dict[str, Any]
) -> None:
    fields, message = REFUSED[name]
    (tlc.folder / "empty.tsv").touch()
    file = tlc.write(document)
    overrides = [f"--set={key}={json.dumps(value)}" for key, value in fields.items()]
    log = tlc.folder / "steps.log"
    run = tlc.ask("run", file, *overrides, TLC_STEP_LOG=str(log))
    assert run.returncode == 2, run.stdout + run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert not log.exists()


def test_a_different_search_with_the_same_name_is_refused(finished: Tlc) -> None:
    run = finished.ask("run", "search.yaml", "--set", "seed=9")
    assert run.returncode == 2
    assert "a search named 'tiny' exists with another seed" in run.stderr
    narrower = finished.ask("run", "search.yaml", "--set", "space.width=64")
    assert narrower.returncode == 2
    assert "space.width: leaves out 32" in narrower.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best", "nothing"], "no search named 'nothing'; searches: tiny"),
        (["show", "tiny", "99"], "search 'tiny' has no trial 99"),
        (["best", "tiny", "--max-size-mb", "-1"], "-1"),
        (["best", "tiny", "--max-size-mb", "nan"], "--max-size-mb: nan is no number"),
        (["measure", "nothing"], "no search named 'nothing'; searches: tiny"),
        (["measure", "tiny", "--runtime", "tensorrt"], "'torch', 'onnxruntime'"),
        (["best", "tiny", "--max-size", "1"], "--max-size-mb"),
        (["compare", "tiny", "--server", "http://x"], "tlc compare reads the study and the store"),
        (["run", "missing.yaml"], "ready-made searches are: causal_lm, classification,"),
        (["run", "search.yaml", "--set", "x"], "must look like"),
    ],
)
def test_a_wrong_command_prints_how_to_fix_it(
    arguments: list[str], message: str, finished: Tlc
) -> None:
    run = finished.ask(*arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_logs_of_a_search_that_was_not_submitted_say_so(finished: Tlc) -> None:
    run = finished.ask("logs", "tiny")
    assert run.returncode == 2
    assert "was not submitted on this machine" in run.stderr
    stopped = finished.ask("stop", "tiny")
    assert stopped.returncode == 2
    assert "is not running; it is finished" in stopped.stderr


def test_best_meets_the_limit_or_prints_the_nearest_model(finished: Tlc) -> None:
    members = json.loads(finished.ask("frontier", "tiny", "--json").stdout)["members"]
    limit = members[0]["size_mb"] * 1.001
    found = finished.ask("best", "tiny", "--max-size-mb", str(limit))
    assert found.returncode == 0
    assert f"#{members[0]['trial']}" in found.stdout

    missed = finished.ask("best", "tiny", "--max-size-mb", "0.001", "--json")
    assert missed.returncode == 3
    answer = json.loads(missed.stdout)
    assert not answer["is_within"]
    assert answer["misses"]["size_mb"] > 1
    assert "nearest exceeds" in finished.ask("best", "tiny", "--max-size-mb", "0.001").stdout


def test_every_query_prints_json_and_text(finished: Tlc) -> None:
    assert json.loads(finished.ask("list", "--json").stdout)[0]["complete"] == 8
    assert "8/8" in finished.ask("list").stdout
    assert json.loads(finished.ask("show", "tiny", "--json").stdout)["search"]["name"] == "tiny"
    trial = json.loads(finished.ask("show", "tiny", "0", "--json").stdout)
    assert trial["curve"]
    printed = finished.ask("show", "tiny", "0").stdout
    assert "latency conditions" in printed
    assert "fine-tuning 40 steps, 2.0 epochs" in printed
    assert "hypervolume" in finished.ask("list").stdout


def test_plan_and_schema_train_nothing(tlc: Tlc, document: dict[str, Any]) -> None:
    plan = json.loads(tlc.ask("plan", tlc.write(document), "--no-data", "--json").stdout)
    assert plan["configurations"] == 64
    assert [example["kind"] for example in plan["examples"]] == ["smallest", "typical", "largest"]
    assert plan["stable_paths"] == 4
    small, large = plan["memory"]
    assert 0 < small["predicted_bytes"] < large["predicted_bytes"]
    resources = {"gpu_memory_gb": 8, "trials_per_gpu": 2}
    file = tlc.write(document, resources=resources, concurrency=9, trials=20)
    printed = tlc.ask("plan", file, "--no-data").stdout
    assert "2 trials share a GPU of 8 GB" in printed
    assert "at most 4 train, and 5 workers idle" in printed
    printed = tlc.ask("plan", "classification", "--no-data").stdout
    assert "largest" in printed
    assert "fine-tuning comes on top" in printed
    schema = json.loads(tlc.ask("schema").stdout)
    assert "sparsity" in json.dumps(schema)
    assert not (tlc.folder / "home").exists()


def test_help_does_not_import_training_libraries(tlc: Tlc) -> None:
    assert "tlc run default" in tlc("--help").stdout
    script = "import sys, search.cli.main; print({'torch', 'ray', 'mlflow'} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "set()"


def test_an_empty_list_prints_how_to_start(tlc: Tlc) -> None:
    assert "tlc run default" in tlc.ask("list").stdout
    assert "no searches exist yet" in tlc.ask("best", "default").stderr


def test_an_option_of_the_command_line_overrides_a_service_in_the_environment(tlc: Tlc) -> None:
    away = "http://127.0.0.1:9"
    here = f"sqlite:///{tlc.folder / 'study.db'}"
    assert tlc.ask("list", "--study", here, TLC_SERVER=away).returncode == 0
    assert "no service at" in tlc.ask("list", TLC_SERVER=away).stderr
    assert "no service at" in tlc.ask("list", "--study", here, "--server", away).stderr
