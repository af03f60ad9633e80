"""``import tlc``: the examples of its page and its notebook, and what a call leaves behind."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tlc
from tests.search.conftest import Tlc, connected_to_ray

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"
NOTEBOOK = ROOT / "examples" / "search.ipynb"
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
STARTS_RAY = "\n## A function of your own\n"
"""From this section of the page on, the process is connected to no Ray, and searches start one."""


def process_state() -> dict[str, Any]:
    """What a call must leave as it was; loggers are those that exist already."""
    loggers = {
        name: each
        for name, each in [("root", logging.root), *logging.root.manager.loggerDict.items()]
        if isinstance(each, logging.Logger)
    }
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": {
            each: signal.getsignal(each)
            for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        },
        "loggers": {
            name: (each.level, list(each.handlers), each.propagate, each.disabled)
            for name, each in loggers.items()
        },
        "warnings": list(warnings.filters),
        "excepthook": sys.excepthook,
    }


@dataclass(frozen=True)
class Examples:
    """The examples of the page after they ran.

    Args:
        command: The command line in their folder.
        names: The variables that they defined.
        printed: What they printed.
        states: The state of the process before and after those that use a Ray that runs already,
            and before and after those that start one.
    """

    command: Tlc
    names: dict[str, Any]
    printed: str
    states: list[tuple[dict[str, Any], dict[str, Any]]]

    @property
    def results(self) -> tlc.Results:
        """The results of their search."""
        results: tlc.Results = self.names["results"]
        return results


@pytest.fixture(scope="module")
def examples(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    """Run every example of the page, in their order, in this process."""
    command = Tlc(tmp_path_factory.mktemp("python"))
    (command.folder / "home").mkdir()
    shutil.copy(empty_mlflow, command.folder / "home" / "mlflow.db")
    page, names, printed = PAGE.read_text(), {"__name__": "examples"}, io.StringIO()

    def run(start: int, end: int) -> tuple[dict[str, Any], dict[str, Any]]:
        before = process_state()
        with redirect_stdout(printed):
            for found in EXAMPLE.finditer(page, start, end):
                line = page.count("\n", 0, found.start(1))
                code = compile("\n" * line + found[1], str(PAGE), "exec")
                exec(code, names)
        return before, process_state()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLC_HOME", str(command.folder / "home"))
        for name in ("MLFLOW_TRACKING_URI", "TLC_STUDY"):
            patch.delenv(name, raising=False)
        patch.chdir(command.folder)
        # Packages that are imported for the first time change the process themselves.
        import mlflow.pyfunc  # noqa: F401
        import ray.tune
        import torch  # noqa: F401

        assert all(getattr(tlc, name) is not None for name in tlc.__all__)
        middle = page.index(STARTS_RAY)
        with connected_to_ray():
            states = [run(0, middle)]
            assert ray.is_initialized()
        states.append(run(middle, len(page)))
        yield Examples(command, names, printed.getvalue(), states)


@pytest.mark.slow
def test_every_example_of_the_page_runs(examples: Examples) -> None:
    assert examples.results.state == "finished"
    assert "no model of search 'digits' meets the limits; the nearest exceeds" in examples.printed
    assert "space.depth.low: input should be greater" in examples.printed
    assert (examples.command.folder / "digits-model" / "load_and_run.py").is_file()
    assert "report" in examples.names["page"].read_text()


@pytest.mark.slow
def test_the_process_is_as_before(examples: Examples) -> None:
    for before, after in examples.states:
        for name, value in before["loggers"].items():
            assert after["loggers"][name] == value, name
        for kind in before.keys() - {"loggers"}:
            assert after[kind] == before[kind], kind
    import ray

    assert not ray.is_initialized()


@pytest.mark.slow
def test_trials_have_a_column_for_each_dimension_and_measure(examples: Examples) -> None:
    trials = examples.results.trials()
    assert list(trials.index) == [0, 1, 2]
    assert set(trials["state"]) == {"complete"}
    for number, row in trials.iterrows():
        trial = examples.results.trial(number)
        assert row["accuracy"] == trial.result["score"]
        assert row["size_mb"] == trial.result["size_mb"]
        assert row["depth"] == trial.configuration["architecture"]["depth"]
        assert row["quantisation"] == trial.configuration["compression"]["quantisation"]
        dimensions = row[["depth", "width", "budget", "quantisation"]].to_dict()
        assert examples.results.predict(**dimensions).trial == number


@pytest.mark.slow
def test_the_frontier_is_the_trials_that_no_other_beats(examples: Examples) -> None:
    trials, frontier = examples.results.trials(), examples.results.frontier()
    assert set(frontier.index) == set(trials.index[trials["on_frontier"]])
    assert frontier["size_mb"].is_monotonic_increasing
    assert frontier["accuracy"].is_monotonic_increasing
    # ``confirm`` was called.
    assert (frontier["further_seeds"] == 1).all()
    repeats = examples.results.trials(repeats=True)
    assert set(repeats["repeats"]) == set(frontier.index)


@pytest.mark.slow
def test_answers_are_those_of_the_command_line(examples: Examples) -> None:
    best = examples.results.best(max_size_mb=2)
    asked = examples.command.ask("best", "digits", "--max-size-mb", "2", "--json")
    assert json.loads(asked.stdout) == best.model_dump(mode="json")
    assert repr(best).startswith(f"<#{best.trial.trial} {best.trial.text}: accuracy")
    file = str(examples.command.write(examples.names["search"]))
    plan = examples.command.ask("plan", file, "--no-data", "--json")
    assert json.loads(plan.stdout)["feasible"] == examples.names["plan"].feasible


@pytest.mark.slow
def test_errors_have_the_message_of_the_command_line(examples: Examples) -> None:
    with pytest.raises(tlc.NoSuchStudy) as error:
        tlc.open("none", study=examples.command.study_url)
    assert examples.command.ask("best", "none").stderr == f"error: {error.value}\n"
    with pytest.raises(tlc.UserError, match="max_size_mb: -1 is not allowed"):
        examples.results.best(max_size_mb=-1)
    with pytest.raises(tlc.UserError, match="max_size_mb: '1' is not allowed; a limit is a number"):
        examples.results.best(max_size_mb="1")  # type: ignore[arg-type]
    with pytest.raises(tlc.PredictionError, match="colour: is not a dimension of this search"):
        examples.results.predict(colour="red")


@pytest.mark.slow
def test_results_are_shown_in_a_line_and_in_a_notebook(examples: Examples) -> None:
    found = examples.results.frontier()
    line = f"<search 'digits', finished: 3 of 3 trials complete, {len(found)} on the frontier"
    assert repr(examples.results).startswith(line)
    page = examples.results._repr_html_()
    assert "&lt;search &#x27;digits&#x27;" in page
    assert page.count("<tr") == 2 + len(found)


def test_all_names_of_the_module_exist() -> None:
    assert dir(tlc) == tlc.__all__
    assert all(getattr(tlc, name) is not None for name in tlc.__all__)
    with pytest.raises(AttributeError, match="module 'tlc' has no attribute 'nothing'"):
        tlc.nothing  # noqa: B018


def test_importing_the_module_imports_no_other_package() -> None:
    script = "import sys; before = {*sys.modules}; import tlc; print(*{*sys.modules} - before)"
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tops = {name.partition(".")[0] for name in printed.stdout.split()}
    assert tops <= {"tlc", *sys.stdlib_module_names}


def test_a_module_of_the_user_that_hides_a_package_of_tlc_is_named(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text("import tlc\ntlc.run('default')\n")
    ran = subprocess.run(
        [sys.executable, "search.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    hidden = f"{tmp_path / 'search.py'} hides the package 'search' of tlc: rename it"
    assert hidden in ran.stderr
    # As the console script, with a user's folder among those of Python.
    ran = subprocess.run(
        [sys.executable, "-P", "-c", "import tlc; tlc.main()"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr.startswith(f"error: {hidden}")) == (2, True)
    assert ran.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_notebook_runs_and_leaves_its_ray_running(
    tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name, value in {"TLC_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "home").mkdir()
    shutil.copy(empty_mlflow, tmp_path / "home" / "mlflow.db")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    outputs = {
        cell.source: [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    assert outputs["ray.is_initialized()"] == ["True"]
    run = next(cell for cell in notebook.cells if cell.source.startswith("results = tlc.run"))
    shown = [output.get("data", {}).get("text/html", "") for output in run.outputs]
    assert "4/4 trials" in shown[0]
    assert "finished: 4 of 4 trials complete" in shown[-1]
    assert "<table" in shown[-1]


SCRIPT = """
import os
import signal
import threading
import time

import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
import tlc
from search.storage.study import Study

search, url = SEARCH, "URL"
handler = signal.getsignal(signal.SIGINT)


def wait_for_attempt(number):
    while True:
        try:
            records = Study.load("digits", url).records()
            if any(each.attempt == number for each in records if not each.is_finished):
                return
        except tlc.NoSuchStudy:
            pass
        time.sleep(0.2)


def interrupt():
    wait_for_attempt(1)
    os.kill(os.getpid(), signal.SIGINT)


threading.Thread(target=interrupt).start()
try:
    tlc.run(search)
except KeyboardInterrupt as error:
    print("interrupted:", error)
print(tlc.open("digits").state, signal.getsignal(signal.SIGINT) is handler)

found = []
thread = threading.Thread(target=lambda: found.append(tlc.run(search)))
thread.start()
wait_for_attempt(2)
try:
    tlc.run({**search, "name": "another"})
except tlc.UserError as error:
    print("refused:", error)
tlc.open("digits").stop()
thread.join()
print(found[0].state, len(found[0].trials()))
deadline = time.monotonic() + 20
while ray.available_resources().get("CPU") != 1 and time.monotonic() < deadline:
    time.sleep(0.1)
print("free:", ray.available_resources().get("CPU"))
"""


@pytest.mark.slow
def test_a_script_is_interrupted_resumed_in_a_thread_and_stopped(
    tmp_path: Path, examples: Examples
) -> None:
    search = {**examples.names["search"], "sampler": "random"}
    # Trials that take longer than the test.
    search["space"] = {**search["space"], "budget": {"unit": "steps", "choices": [10**6]}}
    url = Tlc(tmp_path).study_url
    (tmp_path / "script.py").write_text(SCRIPT.replace("SEARCH", repr(search)).replace("URL", url))
    ran = subprocess.run(
        [sys.executable, "script.py"],
        env=Tlc(tmp_path).environment(PYTHONPATH=str(ROOT), RAY_AUTH_MODE="disabled"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.stdout.splitlines() == [
        "interrupted: interrupted after 0 of 3 trials; the same command resumes the search",
        "stopped True",
        "refused: this process runs another search; wait for it, or use tlc submit",
        "stopped 1",
        "free: 1.0",
    ], ran.stderr
