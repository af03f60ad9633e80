"""Registered models: one version per trial, aliases, loadable without tlc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from objectives.data.sources.text import read_labelled
from search.pareto import Scale, best
from search.registry.registry import CHAMPION, RegistryError, best_by_level, level_alias, register
from search.storage.study import Study
from tests.search.conftest import Tlc

PREDICT = """
import json, sys
import mlflow
import pandas as pd

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
import objectives
with open(sys.argv[3]) as file:
    table = model.predict(pd.DataFrame({"text": json.load(file)}))
print(json.dumps([objectives.__file__, table["answer"].tolist(), table["probability"].min()]))
"""


@pytest.fixture(scope="module")
def registered(finished: Tlc) -> str:
    """What the command printed that registered the winners of a real search."""
    run = finished("register", "tiny", "--as", "winners")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return run.stdout


@pytest.fixture
def client(finished: Tlc) -> MlflowClient:
    return MlflowClient(f"sqlite:///{finished.folder / 'home' / 'mlflow.db'}")


@pytest.fixture
def at_home(finished: Tlc, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    monkeypatch.setenv("TLC_HOME", str(finished.folder / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(finished.folder)
    return finished.study()


def versions(client: MlflowClient) -> list[Any]:
    return list(client.search_model_versions("name = 'winners'"))


def logged_model(client: MlflowClient, version: Any) -> Any:
    return client.get_logged_model(version.source.removeprefix("models:/"))


def stored_model(client: MlflowClient, version: Any) -> Path:
    """The folder of a version's model."""
    location: str = logged_model(client, version).artifact_location
    return Path(location.removeprefix("file://"))


def test_each_alias_points_to_the_best_trial_at_its_level(
    registered: str, client: MlflowClient, at_home: Study
) -> None:
    records, search = at_home.records(), at_home.search
    expected = {CHAMPION: best(records, search.criteria, {})}
    for level in Scale.of(at_home.space).levels():
        expected[level_alias("size_mb", level)] = best(records, search.criteria, {"size_mb": level})
    wanted = {name: record.number for name, record in expected.items() if record is not None}
    aliases = client.get_registered_model("winners").aliases
    found = {
        name: int(client.get_model_version("winners", version).tags["tlc.trial"])
        for name, version in aliases.items()
    }
    assert found == wanted
    assert len(versions(client)) == len(set(wanted.values()))
    for name in wanted:
        assert name in registered
    assert 'mlflow.pyfunc.load_model("models:/winners@champion")' in registered


def test_a_version_has_the_run_and_the_metrics_of_its_trial(
    registered: str, client: MlflowClient, at_home: Study
) -> None:
    version = client.get_model_version_by_alias("winners", CHAMPION)
    record = at_home.record(int(version.tags["tlc.trial"]))
    run = client.get_run(version.run_id)
    assert run.data.tags["tlc.key"] == version.tags["tlc.key"]
    assert run.info.status == "FINISHED"
    logged = logged_model(client, version)
    metrics = {metric.key: metric.value for metric in logged.metrics or []}
    assert metrics["accuracy"] == record.result["score"]
    assert metrics["size_mb"] == record.result["size_mb"]
    assert "latency_ms" in metrics
    assert logged.params["depth"] == str(record.configuration.architecture.depth)
    assert f"{record.result['size_bytes']:,} bytes" in (version.description or "")


def test_nothing_is_pickled_and_little_is_required(registered: str, client: MlflowClient) -> None:
    version = client.get_model_version_by_alias("winners", CHAMPION)
    folder = stored_model(client, version)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pt", ".bin", ".pyc")]
    requirements = (folder / "requirements.txt").read_text()
    assert "torch==" in requirements
    assert "ray" not in requirements
    assert "+cpu" not in requirements
    assert not (folder / "code" / "search").exists()


def test_the_signature_names_what_a_model_reads_and_returns(
    registered: str, client: MlflowClient
) -> None:
    from mlflow.models import Model

    version = client.get_model_version_by_alias("winners", CHAMPION)
    signature = Model.load(str(stored_model(client, version))).signature
    assert signature.inputs.input_names() == ["text"]
    types = dict(zip(signature.outputs.input_names(), signature.outputs.input_types(), strict=True))
    assert {name: kind.name for name, kind in types.items()} == {
        "answer": "string",
        "probability": "double",
    }


def test_the_registered_model_has_the_recorded_accuracy_without_an_installed_tlc(
    registered: str, client: MlflowClient, at_home: Study, tmp_path: Path
) -> None:
    source = at_home.search.data.labelled
    assert source is not None
    rows = read_labelled(source, "", tmp_path / "cache")["validation"]
    (tmp_path / "texts.json").write_text(json.dumps(rows.texts))
    run = subprocess.run(
        [
            sys.executable, "-I", "-c", PREDICT, client.tracking_uri, f"models:/winners@{CHAMPION}",
            str(tmp_path / "texts.json"),
        ],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    code, answers, probability = json.loads(run.stdout.splitlines()[-1])
    version = client.get_model_version_by_alias("winners", CHAMPION)
    assert code.startswith(str(stored_model(client, version)))
    right = sum(a == label for a, label in zip(answers, rows.labels, strict=True))
    record = at_home.record(int(version.tags["tlc.trial"]))
    assert right / len(answers) == record.result["score"]
    assert 0.5 <= probability <= 1.0


def test_registering_again_makes_no_second_version_and_moves_the_champion(
    registered: str, client: MlflowClient, at_home: Study
) -> None:
    before = {version.version for version in versions(client)}
    cheapest = best_by_level(at_home)
    record = min(cheapest.values(), key=lambda record: float(record.result["size_mb"]))
    again = register(at_home, record, "winners")
    assert not any(version.is_new for version in again.versions)
    assert {version.version for version in versions(client)} == before
    champion = client.get_model_version_by_alias("winners", CHAMPION)
    assert champion.tags["tlc.trial"] == str(record.number)
    best_again = best(at_home.records(), at_home.search.criteria, {})
    assert best_again is not None
    register(at_home, best_again, "winners")


@pytest.mark.parametrize("name", ["", "a/b", "models:x", "-x", "x" * 65])
def test_a_name_that_mlflow_would_not_take_is_refused(name: str, study: Study) -> None:
    study.ask()
    with pytest.raises(RegistryError, match=r"--as: .* is not allowed"):
        register(study, study.record(0), name)


def test_nothing_is_registered_where_nothing_meets_the_limits(finished: Tlc) -> None:
    run = finished.ask("register", "tiny", "--as", "none", "--max-size-mb", "0.001")
    assert run.returncode == 3
    assert "the nearest exceeds" in run.stdout


@pytest.mark.parametrize(
    ("cost", "level", "name"),
    [
        ("size_mb", 0.12, "size-mb-0-12"),
        ("latency_ms", 5.0, "latency-ms-5"),
        ("flops", 3.2e6, "flops-3200000"),
    ],
)
def test_a_level_is_an_alias_in_the_letters_that_mlflow_allows(
    cost: str, level: float, name: str
) -> None:
    assert level_alias(cost, level) == name
