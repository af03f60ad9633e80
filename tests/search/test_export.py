"""The exported model works without the study."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from objectives.export.bundle import Bundle
from objectives.export.prediction_task import PredictionTask
from objectives.measurement.slowdown import MeasuredTimes
from objectives.predictor.command import main
from search.pareto import best
from search.registry.export import ExportError, complete_trial, export
from search.registry.model_card import model_card
from search.storage.errors import StudyError
from search.storage.study import Study
from search.storage.trials import TrialRecord
from tests.search.conftest import Tlc, made_up_reference, made_up_result

FILES = {
    "README.md", "config.json", "evaluation.jsonl", "load_and_run.py", "model.onnx",
    "model.safetensors", "predictor", "task.json", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def winner(finished: Tlc) -> TrialRecord:
    study = finished.study()
    found = best(study.records(), study.search.criteria, {})
    assert found is not None
    return found


@pytest.fixture(scope="module")
def exported(finished: Tlc) -> Path:
    """The winner, exported with ONNX by the command line."""
    run = finished.ask("export", "tiny", "--to", "out/winner", "--onnx", "--examples")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert "out/winner/load_and_run.py" in run.stdout
    return finished.folder / "out" / "winner"


def answer(exported: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script of an exported folder, from another folder."""
    return subprocess.run(
        [sys.executable, "-E", str(exported / "load_and_run.py"), *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_script_computes_the_recorded_accuracy_again(
    winner: TrialRecord,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples, expected = exported / "evaluation.jsonl", f"accuracy {winner.result['score']!r}\n"
    scored = answer(exported, tmp_path, "--runtime", "onnxruntime", "--score", str(examples))
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout == expected
    assert scored.stderr == ""
    # Its command runs here with transformers, whose import takes seconds.
    monkeypatch.setattr(sys, "argv", ["-", "--runtime", "transformers", "--score", str(examples)])
    assert main(exported) == 0
    assert capsys.readouterr().out == expected


def test_the_script_predicts_a_label_from_another_folder(exported: Path, tmp_path: Path) -> None:
    answered = answer(exported, tmp_path, "the old dog sees a cat near the horse")
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.split()[0] in ("animal", "tool")
    assert answered.stdout.endswith(" %)\n")
    assert answered.stderr == ""
    refused = answer(exported, tmp_path, "one text", "too many")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: input: ")


def test_the_folder_has_no_pickle_and_the_labels(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == FILES
    files = [path for path in exported.rglob("*") if path.is_file()]
    # A run of the script has compiled its modules.
    assert {path.suffix for path in files} - {".pyc"} == {
        ".json", ".jsonl", ".md", ".onnx", ".py", ".safetensors"
    }  # fmt: skip
    config = json.loads((exported / "config.json").read_text())
    assert config["id2label"] == {"0": "animal", "1": "tool"}
    assert "auto_map" not in config


def test_the_card_has_the_fields_of_the_hub_and_the_facts(
    winner: TrialRecord, exported: Path
) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported / "README.md")
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.metrics == ["accuracy"]
    assert card.data.get("license") is None
    assert card.data.eval_results is not None
    scores = {each.dataset_split: each.metric_value for each in card.data.eval_results}
    assert scores["validation"] == winner.result["score"]
    assert set(scores) == {"validation", "test"}
    for text in (
        f"{winner.result['size_bytes']:,} bytes", "95 % interval", "fingerprint (SHA-256)",
        "the 10th percentile of", "labelled validation examples", "animal, tool", "## ONNX",
        "from transformers import pipeline", str(winner.configuration.compression),
    ):  # fmt: skip
        assert text in card.text
    assert os.sep + "home" not in card.text.replace("\\", "")


def test_the_program_of_the_card_has_the_recorded_accuracy_with_onnxruntime_and_tokenizers(
    winner: TrialRecord, exported: Path, tmp_path: Path
) -> None:
    card = (exported / "README.md").read_text()
    (program,) = [
        code for code in re.findall(r"```python\n(.*?)```", card, re.S) if "onnxruntime" in code
    ]
    # As a stranger would: these two files, and nothing else of the folder.
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copy(exported / name, tmp_path)
    score = """
import sys
assert not {"torch", "transformers", "objectives", "predictor"} & sys.modules.keys()
examples = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
found = predict([each["text"] for each in examples])
print(sum(one == each["label"] for one, each in zip(found, examples)) / len(examples))
"""
    run = subprocess.run(
        [sys.executable, "-I", "-c", program + score, str(exported / "evaluation.jsonl")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    printed, accuracy = run.stdout.splitlines()
    assert printed in ("['animal']", "['tool']")
    assert float(accuracy) == winner.result["score"]


def test_nothing_is_written_where_nothing_meets_the_limits(finished: Tlc) -> None:
    run = finished.ask("export", "tiny", "--max-size-mb", "0.001", "--to", "none")
    assert run.returncode == 3
    assert "the nearest exceeds" in run.stdout
    assert not (finished.folder / "none").exists()


@pytest.fixture
def at_home(finished: Tlc, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("TLC_HOME", str(finished.folder / "home"))
    monkeypatch.chdir(finished.folder)
    return finished.study()


def test_any_trial_can_be_exported_and_into_an_empty_folder(at_home: Study, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    made = export(at_home, complete_trial(at_home, 0), tmp_path / "empty")
    assert set(made.files) == FILES - {"model.onnx", "evaluation.jsonl"}
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert ", trial 0" in (tmp_path / "empty" / "README.md").read_text()


def test_a_folder_in_use_is_left_alone(at_home: Study, winner: TrialRecord, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"--to: .*used is not empty"):
        export(at_home, winner, tmp_path / "used")
    with pytest.raises(ExportError, match=r"--to: .*notes.txt is a file"):
        export(at_home, winner, tmp_path / "used" / "notes.txt")
    with pytest.raises(ExportError, match="cannot be written"):
        export(at_home, winner, Path("/proc/tlc/model"))
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["notes.txt"]


def test_a_missing_model_is_reported_and_leaves_no_folder(
    at_home: Study, winner: TrialRecord, tmp_path: Path
) -> None:
    gone = replace(winner, result={**winner.result, "model": "models/gone"})
    with pytest.raises(
        ExportError, match=f"the model of trial {winner.number} is not in the store"
    ):
        export(at_home, gone, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_data_that_is_gone_is_prepared_again_if_it_is_the_same(
    finished: Tlc,
    at_home: Study,
    winner: TrialRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished.folder / "home" / "store", tmp_path / "store")
    monkeypatch.setenv("TLC_HOME", str(tmp_path))
    made = export(at_home, winner, tmp_path / "out")
    assert "tokenizer.json" in made.files
    shutil.rmtree(tmp_path / "data")
    trained_on_other = replace(winner, result={**winner.result, "data_fingerprint": "other"})
    with pytest.raises(StudyError, match="has changed since its trials"):
        export(at_home, trained_on_other, tmp_path / "out2")


def test_only_a_complete_trial_has_a_model(study: Study) -> None:
    study.tell_failure(study.ask().number, "diverged", "the loss rose")
    with pytest.raises(ExportError, match="trial 0 of search 'tiny' is diverged"):
        complete_trial(study, 0)
    with pytest.raises(StudyError, match="has no trial 7"):
        complete_trial(study, 7)


def test_a_trial_and_limits_together_are_refused(finished: Tlc) -> None:
    run = finished.ask("export", "tiny", "--trial", "0", "--max-size-mb", "1", "--to", "none")
    assert run.returncode == 2
    assert "--trial" in run.stderr


def test_names_in_a_card_cannot_change_its_form(study: Study) -> None:
    latency = MeasuredTimes(1.0, 0.9, 0.5, 0.45, 0.5, 0.45, "here")._asdict()
    latency |= {"p50_ms": 1.0, "p95_ms": 1.0, "noisy": False, "repeats": 10, "batch_size": 1}
    latency |= {"sequence_length": 16, "threads": 1, "device": "cpu", "processor": "x86"}
    latency |= {"runtime": "torch"}
    made = made_up_result(0.9, 0.1, latency=latency, versions={"torch": "2"})
    number = study.ask().number
    study.tell_result(number, made)
    study.set_data({"fingerprint": "f", "label_names": [], "counts": {"train": 3}})
    study.set_references([made_up_reference("regression", 0.7, 0.02)])
    task = PredictionTask(
        "classification", "accuracy", ("a | b", "<script>alert(1)</script>", "two\nlines")
    )
    text = model_card(study, study.record(number), task, Bundle(None, None))
    assert "a \\| b" in text
    assert "<script>" not in text
    assert "two lines" in text
    expected = "| reference: regression | 0.700, 95 % interval 0.680 to 0.720, at 20,000 bytes |"
    assert expected in text
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "onnx"
