"""Registered models: one version per trial, aliases, loadable without tlc."""

from __future__ import annotations

import inspect
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
from search.hypervolume import Scale
from search.pareto import best
from search.registry.registry import CHAMPION, RegistryError, best_by_level, level_alias, register
from search.storage.study import Study
from tests.objectives.outside import hide
from tests.search.conftest import Tlc

PREDICT = f"""
from __future__ import annotations

import importlib.machinery
import sys

{inspect.getsource(hide)}
hide({{"spaces", "objectives", "search", "ray", "optuna", "neural_compressor", *sys.argv[4:]}})
import json
import mlflow
import pandas as pd
from mlflow.models import convert_input_example_to_serving_input, validate_serving_input

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
import predictor
with open(sys.argv[3]) as file:
    texts = pd.DataFrame({{"text": json.load(file)}})
table = model.predict(texts)
served = validate_serving_input(sys.argv[2], convert_input_example_to_serving_input(texts[:3]))
assert served.equals(table[:3])
print(json.dumps([predictor.__file__, table["answer"].tolist(), table["probability"].min()]))
"""


@pytest.fixture(scope="module")
def registered(finished: Tlc) -> str:
    """What the command printed that registered the winners of a real search."""
    run = finished.ask("register", "tiny", "--as", "winners")
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
    # Python writes what it compiled beside the script that it loads.
    files = [path for path in files if path.parent.name != "__pycache__"]
    assert not [path for path in files if path.suffix in (".pkl", ".pt", ".bin", ".pyc")]
    requirements = (folder / "requirements.txt").read_text()
    assert "torch==" in requirements
    assert "ray" not in requirements
    assert "tlc" not in requirements
    assert "+cpu" not in requirements
    assert {path.name for path in (folder / "code").iterdir()} == {"predictor"}


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


def predict_without_tlc(
    client: MlflowClient, study: Study, uri: str, folder: Path, *hidden: str
) -> tuple[str, float, float]:
    """Where the code of a registered model is, its accuracy, and its least probability, in a
    process that has no tlc."""
    source = study.search.data.labelled
    assert source is not None
    rows = read_labelled(source, "", folder / "cache")["validation"]
    (folder / "texts.json").write_text(json.dumps(list(rows.texts)))
    run = subprocess.run(
        [
            sys.executable, "-I", "-c", PREDICT, client.tracking_uri, uri,
            str(folder / "texts.json"), *hidden,
        ],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    code, answers, probability = json.loads(run.stdout.splitlines()[-1])
    right = sum(a == label for a, label in zip(answers, rows.labels, strict=True))
    return code, right / len(answers), probability


def test_the_registered_model_has_the_recorded_accuracy_without_tlc(
    registered: str, client: MlflowClient, at_home: Study, tmp_path: Path
) -> None:
    version = client.get_model_version_by_alias("winners", CHAMPION)
    record = at_home.record(int(version.tags["tlc.trial"]))
    uri = f"models:/winners@{CHAMPION}"
    code, accuracy, probability = predict_without_tlc(client, at_home, uri, tmp_path, "onnxruntime")
    assert code.startswith(str(stored_model(client, version)))
    assert accuracy == record.result["score"]
    assert 0.5 <= probability <= 1.0


@pytest.mark.slow
def test_models_can_be_registered_that_need_no_torch(
    registered: str, client: MlflowClient, at_home: Study, tmp_path: Path
) -> None:
    cheapest = min(best_by_level(at_home).values(), key=lambda each: float(each.result["size_mb"]))
    made = register(at_home, cheapest, "small", with_onnx=True)
    version = client.get_model_version_by_alias("small", CHAMPION)
    requirements = (stored_model(client, version) / "requirements.txt").read_text().split()
    names = {line.partition("==")[0] for line in requirements}
    assert names == {"mlflow", "numpy", "onnxruntime", "pandas", "tokenizers"}
    hidden = ("torch", "transformers", "safetensors", "compressed_tensors")
    uri = f"models:/{made.name}@{CHAMPION}"
    _, accuracy, _ = predict_without_tlc(client, at_home, uri, tmp_path, *hidden)
    assert accuracy == cheapest.result["score"]


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
