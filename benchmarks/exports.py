"""Exported and registered models in fresh environments that hold no tlc.

For each search file the script runs a small search on one architecture, exports every trial with
ONNX and its validation examples, and runs ``load_and_run.py`` in two virtual environments: one
holds onnxruntime, tokenizers and numpy, the other transformers, torch and compressed-tensors (both
pillow and sacrebleu too). It prints the scores beside the recorded ones, and for how many of the
first examples both print the same. With ``--serve`` it registers the best model twice, with and
without ``--onnx``, installs exactly what each model requires, and asks ``mlflow models serve``
there.

    python benchmarks/exports.py classification causal_lm images my_translation.yaml --serve
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.file.storage import Locations
from spaces.loading import load

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.ports import free_port

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "onnxruntime": "onnxruntime tokenizers numpy pillow sacrebleu",
    "transformers": "transformers torch compressed-tensors pillow sacrebleu",
}
SETTINGS = {
    "sampler": "grid",
    "hours": "1",
    "space.depth": "2",
    "space.width": "64",
    "space.budget": "{unit: steps, choices: [300]}",
    "space.sparsity": "0.5",
    "space.quantisation": "{choices: [none, static-8, rtn-4]}",
    "measurement.repeats": "10",
}
"""Three trials of a pruned model, which share their training."""
INPUTS = 3
"""Examples whose outputs are compared."""
TOLERANCE = 1e-5
"""Of a perplexity, as a fraction; accuracies and BLEU are compared exactly."""


def environment(folder: Path, packages: list[str]) -> Path:
    """A virtual environment with some packages; returns its Python."""
    python = folder / "bin" / "python"
    if python.exists():
        return python
    venv.create(folder, with_pip=True)
    constraints = str(ROOT / "constraints.txt")
    pip = [str(python), "-m", "pip", "install", "-q", "-c", constraints, *packages]
    subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    assert "tlc" not in listed
    print(f"{folder.name}: {len(listed.split())} packages, no tlc")
    return python


def tlc(folder: Path, *arguments: str) -> str:
    """Run the command line in a folder; returns what it prints."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    run = subprocess.run(
        [sys.executable, "-m", "search.cli", *arguments],
        env={**kept, "TLC_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        raise click.ClickException(f"tlc {' '.join(arguments)}:\n{run.stdout}{run.stderr}")
    return run.stdout


def script(python: Path, exported: Path, *arguments: str) -> str:
    """Run ``load_and_run.py`` of an exported folder in an environment."""
    run = subprocess.run(
        [python, str(exported / "load_and_run.py"), *arguments],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        raise click.ClickException(f"{exported} with {python}:\n{run.stderr}")
    return run.stdout


def inputs_of(examples: Path) -> list[list[str]]:
    """The arguments of the script for the first examples; none where they are no texts."""
    with examples.open() as file:
        some = [json.loads(line) for _, line in zip(range(INPUTS), file, strict=False)]
    texts = [each for each in some if "text" in each]
    # The shell's limit on an argument is far above that of the model.
    return [[each["text"][:2000], *([each["text_pair"]] if "text_pair" in each else [])]
            for each in texts]  # fmt: skip


def check(record: TrialRecord, exported: Path, pythons: dict[str, Path]) -> Iterator[str]:
    """Score an exported model in each environment, and yield the cells of its row."""
    examples = exported / "evaluation.jsonl"
    recorded = float(record.result["score"])
    printed: dict[str, list[str]] = {}
    for runtime, python in pythons.items():
        if runtime == "transformers" and not (exported / "model.safetensors").exists():
            yield "ONNX only"
            continue
        started = time.perf_counter()
        metric, value = script(
            python, exported, "--runtime", runtime, "--score", str(examples)
        ).split()
        seconds = time.perf_counter() - started
        score = float(value)
        allowed = TOLERANCE * recorded if metric == "perplexity" else 0.0
        verdict = "equal" if abs(score - recorded) <= allowed else f"{score - recorded:+.3g}"
        yield f"{score:.6g} ({verdict}, {seconds:.0f} s)"
        outputs = [script(python, exported, "--runtime", runtime, *each)
                   for each in inputs_of(examples)]  # fmt: skip
        printed[runtime] = outputs
    if len(printed) < len(pythons):
        yield ""
        return
    first, second = printed.values()
    same = sum(one == other for one, other in zip(first, second, strict=True))
    yield f"{same} of {len(first)}" if first else "images: by the score"


@contextmanager
def served(python: Path, model: Path) -> Iterator[str]:
    """``mlflow models serve`` in an environment; yields its address."""
    port = free_port()
    command = [
        str(python.parent / "mlflow"), "models", "serve", "-m", str(model), "-p", str(port),
        "--env-manager", "local",
    ]  # fmt: skip
    path = f"{python.parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path}
    variables.pop("PYTHONPATH", None)
    with subprocess.Popen(
        command, env=variables, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{address}/ping")
                    break
                except OSError:
                    time.sleep(0.5)
            yield address
        finally:
            os.killpg(server.pid, 15)


def check_served(name: str, folder: Path, best: Path, flags: list[str]) -> None:
    """Register the best model, serve it where only its requirements are, and compare answers."""
    from mlflow import MlflowClient

    model_name = f"{name}{''.join(flags)}"
    tlc(folder, "register", name, "--as", model_name, *flags)
    client = MlflowClient(f"sqlite:///{folder / 'home' / 'mlflow.db'}")
    version = client.get_model_version_by_alias(model_name, "champion")
    logged: Any = client.get_logged_model(version.source.removeprefix("models:/"))
    model = Path(logged.artifact_location.removeprefix("file://"))
    requirements = (model / "requirements.txt").read_text().split()
    print(f"{model_name}: {' '.join(requirements)}")
    python = environment(folder / f"serve{''.join(flags)}", requirements)
    texts = [each[0] for each in inputs_of(best / "evaluation.jsonl")]
    body = {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}
    with served(python, model) as address:
        request = urllib.request.Request(
            f"{address}/invocations", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request) as response:
            answers = json.load(response)["predictions"]
    runtime = "onnxruntime" if flags else "transformers"
    expected = [script(Path(sys.executable), best, "--runtime", runtime, text) for text in texts]
    given = [each["answer"] for each in answers]
    same = sum(
        line.startswith(answer) or line.endswith(f"{answer}\n")
        for line, answer in zip(expected, given, strict=True)
    )
    print(f"{model_name}: mlflow models serve answers {same} of {len(texts)} as the script does")


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--serve", is_flag=True, help="Also serve a registered model of the first file.")
@click.option("--set", "settings", multiple=True, help="KEY=VALUE of the searches.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder to keep or go on with.")
def main(files: tuple[str, ...], serve: bool, settings: tuple[str, ...], work: Path | None) -> None:
    root = work or Path(tempfile.mkdtemp(prefix="exports-"))
    root.mkdir(parents=True, exist_ok=True)
    pythons = {
        runtime: environment(root / runtime, packages.split())
        for runtime, packages in PACKAGES.items()
    }
    given = [*(f"{key}={value}" for key, value in SETTINGS.items()), *settings]
    overrides = [part for each in given for part in ("--set", each)]
    print("\n| search | model | recorded | onnxruntime | transformers | same outputs |")
    print("| --- | --- | --- | --- | --- | --- |")
    for number, file in enumerate(files):
        os.environ["TLC_HOME"] = str(root / "home")
        path = str(Path(file).resolve()) if Path(file).exists() else file
        search = load(path, given)
        tlc(root, "run", path, *overrides)
        study = Study.load(search.name, Locations.of(search.storage).study_url)
        exported: dict[int, Path] = {}
        for record in study.records():
            if not record.is_complete:
                print(f"| {search.name} | {record.configuration} | {record.state} | | | |")
                continue
            exported[record.number] = to = root / f"{search.name}-{record.number}"
            if not to.exists():
                chosen = ["--trial", str(record.number), "--to", str(to)]
                tlc(root, "export", search.name, *chosen, "--onnx", "--examples")
            cells = " | ".join(check(record, to, pythons))
            compression = record.configuration.compression
            recorded = f"{record.result['score']:.6g}"
            print(f"| {search.name} | {compression} | {recorded} | {cells} |", flush=True)
        if serve and number == 0:
            champion = json.loads(tlc(root, "best", search.name, "--json"))["trial"]["trial"]
            for flags in ([], ["--onnx"]):
                check_served(search.name, root, exported[champion], flags)


if __name__ == "__main__":
    main()
