"""Data in place of a search file: what is written for it, what is shown of it, what is refused."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from search.proposal.machine import Machine
from search.proposal.proposal import propose, search_name
from search.proposal.yaml_text import yaml_text
from spaces.loading import load
from tests.checkpoints import save_checkpoint, save_images_checkpoint, save_translator, texts_of
from tests.objectives.hub import local_hub
from tests.search.conftest import Tlc

MACHINE = Machine(cores=2, gpus=0, flops=2e10)
SECONDS = {"unit": "seconds", "choices": [9]}


@pytest.fixture
def reviews(tlc: Tlc) -> str:
    """A table of 200 texts, a tenth of them of one class."""
    rng = random.Random(0)
    rows = ["text,label"]
    for n in range(200):
        words = " ".join(rng.choices(["good", "bad", "film", "plot", "music", "end"], k=8))
        rows.append(f"{words} {n},{'rare' if n % 10 == 0 else 'usual'}")
    (tlc.folder / "reviews.csv").write_text("\n".join(rows) + "\n")
    return "reviews.csv"


def test_init_writes_a_search_file_that_runs(tlc: Tlc, reviews: str) -> None:
    made = tlc.ask("init", reviews)
    assert made.returncode == 0, made.stderr
    assert "2 classes: 'usual' 144, 'rare' 16" in made.stdout
    assert "next: tlc run reviews.yaml" in made.stdout
    search = load(str(tlc.folder / "reviews.yaml"))
    assert search.name == "reviews"
    assert search.metric.name == "macro-f1", "accuracy says little of 9 : 1"
    assert search.data.sequence_length == 16
    assert search.hours
    again = tlc.ask("init", reviews)
    assert again.returncode == 2
    assert "reviews.yaml exists already" in again.stderr


def test_init_writes_a_search_from_a_checkpoint(tlc: Tlc, reviews: str, corpus: Path) -> None:
    save_checkpoint(tlc.folder / "bert", "bert", texts_of(corpus))
    refused = tlc.ask("init", "bert")
    assert refused.returncode == 2
    assert "bert: is a checkpoint of transformers, and no data" in refused.stderr
    made = tlc.ask("init", reviews, "--checkpoint", "bert")
    assert made.returncode == 0, made.stderr
    assert "models start from ./bert" in made.stdout
    search = load(str(tlc.folder / "reviews.yaml"))
    assert search.checkpoints == ()
    assert search.model is not None
    assert search.model.names == ("./bert",)
    assert search.data.unlabelled is None
    assert [*search.space.depth.values] == [2, 3, 4]
    planned = tlc.ask("plan", "reviews.yaml", "--no-data")
    assert planned.returncode == 0, planned.stderr


@pytest.mark.slow
@pytest.mark.parametrize("task", ["image-classification", "causal-lm", "translation"])
def test_other_tasks_start_from_a_checkpoint_too(
    task: str, tlc: Tlc, corpus: Path, translations: Path, pictures: Path
) -> None:
    folder, texts = tlc.folder / "checkpoint", texts_of(corpus)
    if task == "image-classification":
        save_images_checkpoint(folder)
        names = [str(pictures)]
    elif task == "causal-lm":
        save_checkpoint(folder, "llama_lm", texts)
        names = [str(corpus / "text.txt")]
    else:
        save_translator(folder, "bart", texts)
        names = [str(translations / f"validation.{side}") for side in ("source", "target")]
    made = tlc.ask("init", *names, "--checkpoint", "checkpoint")
    assert made.returncode == 0, made.stderr
    (file,) = tlc.folder.glob("*.yaml")
    assert load(str(file)).task.name == task
    planned = tlc.ask("plan", file.name, "--no-data")
    assert planned.returncode == 0, planned.stderr


@pytest.mark.slow
def test_init_reads_a_data_set_of_the_hub(tmp_path: Path) -> None:
    names = {"class_label": {"names": {"0": "no", "1": "yes"}}}
    features = [{"name": "text", "dtype": "string"}, {"name": "label", "dtype": names}]
    card = f"---\ndataset_info: {json.dumps({'features': features})}\n---\n"
    rows = "text,label\n" + "".join(f"word {n} of text {n % 7},{n % 2}\n" for n in range(200))
    with local_hub("tlc/words", {"README.md": card, "train.csv": rows}) as address:
        hub = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        environment = {**os.environ, **hub, "TLC_HOME": str(tmp_path / "home")}
        for name, message in (("words", "2 classes: 'no' 80, 'yes' 80"), ("none", "doesn't exist")):
            made = subprocess.run(
                [sys.executable, "-m", "search.cli", "init", f"tlc/{name}"],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert made.returncode == (0 if name == "words" else 2), made.stderr
            assert message in made.stdout + made.stderr
    assert load(str(tmp_path / "words.yaml")).data.labelled is not None


def test_data_and_plan_show_data_without_writing_a_file(tlc: Tlc, reviews: str) -> None:
    shown = tlc.ask("data", reviews, "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["classes"]["rare"] == {"train": 16, "validation": 2, "test": 2}
    assert len(found["examples"]) == 3
    assert found["examples"][0]["tokens"].startswith("<s>|")
    text = tlc.ask("data", reviews)
    assert "a tenth of the examples of train is held out as validation and as test" in text.stdout
    assert not (tlc.folder / "reviews.yaml").exists()


def test_a_file_of_other_data_is_not_run(tlc: Tlc, reviews: str) -> None:
    ready = resources.files("spaces.file.ready") / "images.yaml"
    (tlc.folder / "reviews.yaml").write_text(ready.read_text())
    refused = tlc.ask("run", reviews)
    assert refused.returncode == 2
    assert "reviews.yaml exists already, and is of other data" in refused.stderr


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["data/My reviews (1).csv"], "My-reviews-1"),
        (["sst2/train.tsv"], "sst2"),
        (["stanfordnlp/sst2"], "sst2"),
        (["Bücher.txt"], "B-cher"),
    ],
)
def test_a_search_has_the_name_of_its_data(names: list[str], name: str) -> None:
    assert search_name(names) == name


def test_a_slow_machine_gets_a_smaller_space(tlc: Tlc, reviews: str) -> None:
    folder = tlc.folder / "home" / "data"
    path = str(tlc.folder / reviews)
    usual = propose([path], folder, MACHINE).document
    slow = propose([path], folder, Machine(cores=1, gpus=0, flops=2e7)).document
    assert slow["space"]["width"]["choices"] < usual["space"]["width"]["choices"]
    assert 0 < usual["hours"] <= slow["hours"] <= 1


def test_names_in_data_cannot_leave_a_comment() -> None:
    text = yaml_text({"name": "x"}, {"name": "a\nseed: 3 \x1b[2J" + " word" * 60}, ["head"])
    assert [line for line in text.splitlines() if not line.startswith("#")] == ["name: x"]


@pytest.mark.slow
def test_a_measured_plan_says_how_long_the_search_takes(
    tlc: Tlc, task_documents: dict[str, dict[str, Any]]
) -> None:
    file = tlc.write(task_documents["causal-lm"], trials=8, hours=1e-4)
    shown = tlc.ask("plan", file, "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["data"]["counts"]["unlabelled train tokens"] > 1000
    assert found["steps_per_second"]
    assert all(speed > 0 for speed in found["steps_per_second"].values())
    assert all(reference["scores"]["validation"] for reference in found["references"])
    assert 0 < found["training_seconds"] / found["trials_at_a_time"] < 3600 * found["hours"]
    assert found["trials_in_time"] == 0, "no trial fits into a third of a second"


def test_a_plan_opens_the_data(tlc: Tlc, task_documents: dict[str, dict[str, Any]]) -> None:
    file = tlc.write(
        task_documents["image-classification"],
        space={**task_documents["image-classification"]["space"], "budget": SECONDS},
    )
    shown = tlc.ask("plan", file)
    assert shown.returncode == 0, shown.stderr
    assert " train images" in shown.stdout
    assert "reference: majority class, accuracy" in shown.stdout
    assert "the speed of training was not measured: budgets are in seconds" in shown.stdout
    assert "trials take at most about" in shown.stdout


def test_a_plan_without_its_data_is_refused_or_arithmetic(
    tlc: Tlc, task_documents: dict[str, dict[str, Any]]
) -> None:
    nowhere = {"source": "image_folder", "train": "nowhere"}
    file = tlc.write(
        task_documents["image-classification"], data={"images": nowhere, "image_size": 8}
    )
    refused = tlc.ask("plan", file)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "error: data.images.train: no such folder: nowhere; tlc plan --no-data plans without "
        "opening it"
    )
    planned = tlc.ask("plan", file, "--no-data")
    assert planned.returncode == 0, planned.stderr
    assert "configurations" in planned.stdout
