"""The skeleton of ``tlc init`` and the example of the documentation run as they are."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from objectives.completion import completed
from objectives.objective import Objective
from objectives.testing.pytest_tasks import TaskTestCase, TriedTask
from spaces.grid.search_space import SearchSpace
from spaces.loading import load
from tests.own_package import own_document, write_package
from tests.search.conftest import Tlc

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "own-task.md"


@pytest.fixture(autouse=True)
def in_folder(tlc: Tlc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the folder of the command line, as users do."""
    monkeypatch.chdir(tlc.folder)
    monkeypatch.setenv("TLC_HOME", str(tlc.folder / "home"))
    monkeypatch.setattr(sys, "path", [*sys.path])


def accuracy_of(tlc: Tlc, file: str) -> float:
    """Plan the search in a file, and evaluate the largest of its models."""
    planned = tlc.ask("plan", file)
    assert planned.returncode == 0, planned.stderr
    assert "configurations" in planned.stdout
    search, _ = completed(load(file), tlc.folder / "home" / "data")
    space = SearchSpace(search)
    last = tuple(len(dimension.values) - 1 for dimension in space.dimensions)
    return Objective(search).evaluate(space.configuration(last)).score


def test_the_skeleton_runs_as_it_is(tlc: Tlc) -> None:
    made = tlc.ask("init", "my_task.py")
    assert made.returncode == 0, made.stderr
    assert "tlc run my_task.yaml" in made.stdout
    assert len((tlc.folder / "my_task.py").read_text().splitlines()) <= 60
    assert accuracy_of(tlc, "my_task.yaml") > 0.5


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(tlc: Tlc) -> None:
    pattern = r"```(?:python|yaml)\n# (\S+)\n(.*?)```"
    files = dict(re.findall(pattern, DOCUMENTATION.read_text(), re.S))
    assert list(files) == ["majority.py", "search.yaml", "test_majority.py"]
    for name, text in files.items():
        (tlc.folder / name).write_text(text)
    assert accuracy_of(tlc, "search.yaml") >= 0.4
    case = runpy.run_path("test_majority.py")["TestMajority"]
    assert issubclass(case, TaskTestCase)
    tried = TriedTask("search.yaml", tlc.folder)
    case().test_the_loss_of_a_step_is_deterministic(tried)
    case().test_sizes_are_those_of_the_arithmetic(tried, tlc.folder)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("my-task.py", "DATA: my-task.py is no Python module; allowed are names such as task.py"),
        ("json.py", "DATA: a module named json is installed"),
        ("there.py", "DATA: there.py exists already"),
        ("nowhere/task.py", "DATA: nowhere/task.py cannot be written"),
    ],
)
def test_init_overwrites_and_hides_nothing(file: str, message: str, tlc: Tlc) -> None:
    (tlc.folder / "there.py").write_text("mine")
    made = tlc.ask("init", file)
    assert made.returncode == 2
    assert message in made.stderr
    assert (tlc.folder / "there.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"name": "nowhere.tasks:MyTask"}, "task.name: nowhere.tasks:MyTask: there is no module"),
        ({"name": "own_refused.tasks:FirstSymbol", "symbols": 0}, "task.name: data() raised Value"),
        ({"name": "own_refused.tasks:FirstSymbol", "length": 8.5}, "task.length: input should be"),
        ({"name": "search.seeds:Repeats"}, "search is no module of yours"),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit", "plan"])
def test_what_cannot_work_is_refused_before_anything_starts(
    command: str, task: dict[str, Any], message: str, tlc: Tlc
) -> None:
    write_package(tlc.folder, "own_refused")
    file = tlc.write(own_document("refused"), task=task)
    refused = tlc.ask(command, file)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tlc.folder / "home" / "study.db").exists()
