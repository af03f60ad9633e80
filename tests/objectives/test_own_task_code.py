"""The code of a task that a user wrote: what it is, what stands for it, where it goes."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from objectives.completion import completed
from objectives.models.build import build
from objectives.models.own import OwnModelError
from objectives.tasks import make_task, prepare_for
from objectives.tasks.own.code import code_of
from objectives.tasks.own.schema import schema_with_task
from objectives.tasks.own.shipping import archive_of
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.errors import UserError
from spaces.file.own_task import registered
from spaces.file.search_file import SearchFile
from spaces.loading import validate
from tests.objectives.conftest import OpenOwn
from tests.own_package import own_document, write_package


def key_of(search: SearchFile, data: Path) -> str:
    task = make_task(search, prepare_for(search, data))
    return task.path(Configuration(Architecture.of(1, 32), 20, Compression())).key


def test_fields_and_code_are_in_the_key_of_training(open_own: OpenOwn, tmp_path: Path) -> None:
    usual = open_own(name="keyed")
    keys = {key_of(usual, tmp_path / "data")}
    keys.add(key_of(open_own(name="keyed", symbols=4), tmp_path / "data"))
    changed = open_own(("gelu", "relu"), name="changed_code")
    assert changed.task.opened.code != usual.task.opened.code  # type: ignore[union-attr]
    keys.add(key_of(changed, tmp_path / "data"))
    assert len(keys) == 3


def test_fields_have_the_types_of_json(open_own: OpenOwn, tmp_path: Path) -> None:
    typed = (
        "    length: int = 8\n",
        "    length: int = 8\n    folder: Path\n    sizes: tuple[int, ...] = ()\n",
    )
    imported = ("import tlc\n", "import tlc\nfrom pathlib import Path\n")
    search = open_own(typed, imported, folder=str(tmp_path), sizes=[1, 2])
    task = make_task(search, prepare_for(search, tmp_path / "data"))
    assert getattr(task, "folder") == tmp_path  # noqa: B009
    assert task.model_dump()["sizes"] == (1, 2)
    assert search.task.all_fields["sizes"] == [1, 2]  # type: ignore[union-attr]


def test_a_version_stands_for_the_code(open_own: OpenOwn) -> None:
    versioned = ("length: int = 8", 'length: int = 8\n    version = "7"')
    search = open_own(versioned)
    assert search.task.opened.code == "version 7"  # type: ignore[union-attr]
    assert open_own(versioned, ("gelu", "relu")).task.opened.code == "version 7"  # type: ignore[union-attr]


def test_code_that_changed_since_the_search_started_is_refused(
    open_own: OpenOwn, tmp_path: Path
) -> None:
    search = open_own(name="edited")
    write_package(tmp_path, "edited", ("gelu", "relu"))
    with pytest.raises(UserError, match=r"task\.name: edited\.tasks:FirstSymbol: its code has ch"):
        make_task(search, prepare_for(search, tmp_path / "data"))


def test_other_code_or_data_is_named_as_a_difference(open_own: OpenOwn) -> None:
    first = open_own(name="first_code")
    changes = {
        "code": ("gelu", "relu"),
        "code, data": ('"train": 128', '"train": 130'),
    }
    for number, (expected, change) in enumerate(changes.items()):
        task = open_own(change, name=f"other_code{number}").task
        renamed = first.model_copy(
            update={"task": task.model_copy(update={"name": first.task.name})}
        )
        assert first.differences(renamed) == [f"{e} of the task" for e in expected.split(", ")]


def test_a_description_alone_runs_no_code(open_own: OpenOwn, monkeypatch: Any) -> None:
    search = open_own()
    monkeypatch.setattr("objectives.models.own._factories", {})
    with pytest.raises(OwnModelError, match="open its search first"):
        build(Architecture.of(1, 32).shape, search.workload)


def test_data_that_is_drawn_anew_is_refused(open_own: OpenOwn, tmp_path: Path) -> None:
    search = open_own(("default_rng(0)", "default_rng()"))
    with pytest.raises(UserError, match=r"data\(\) of .* gave other rows than when the search"):
        prepare_for(search, tmp_path / "elsewhere")


@pytest.fixture
def registered_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name under which a package registers its task as an entry point."""
    package = "own_registered"
    write_package(tmp_path, package)
    facts = tmp_path / f"{package}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        f"[tlc.tasks]\nfirst-symbol = {package}.tasks:FirstSymbol\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registered.cache_clear()
    yield "first-symbol"
    monkeypatch.undo()
    registered.cache_clear()


def test_an_entry_point_names_it(registered_package: str, tmp_path: Path) -> None:
    document = {**own_document("entry"), "task": {"name": registered_package, "symbols": 4}}
    search, _ = completed(validate(document), tmp_path / "data")
    assert search.metric.guessing == 0.25
    # A worker may have the code without the entry point.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("spaces.file.own_task.registered", dict)
        again = validate(search.to_dict())
        assert make_task(again, prepare_for(again, tmp_path / "data")).kind == registered_package


def test_the_schema_has_its_fields(open_own: OpenOwn) -> None:
    search = open_own()
    schema = schema_with_task(search.task.name)
    task = schema["properties"]["task"]
    assert task["properties"]["symbols"] == {"default": 3, "title": "Symbols", "type": "integer"}
    assert task["properties"]["name"]["const"] == search.task.name
    assert task["required"] == ["name"]
    assert not task["additionalProperties"]


@pytest.mark.slow
def test_its_package_reaches_a_process_that_lacks_it(open_own: OpenOwn, tmp_path: Path) -> None:
    search = open_own(name="sent_away")
    archive = archive_of(search.task)  # type: ignore[arg-type]
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert names == [f"sent_away/{name}.py" for name in ("__init__", "reader", "tasks")]
    assert archive == archive_of(search.task)  # type: ignore[arg-type]
    (tmp_path / "archive").write_bytes(archive)
    (tmp_path / "search.json").write_text(json.dumps(search.to_dict()))
    script = (
        "import json, sys\nfrom pathlib import Path\n"
        "from objectives.tasks.own.importing import own_task\n"
        "from objectives.tasks.own.shipping import install\n"
        "from spaces.loading import validate\n"
        "install(Path('archive').read_bytes())\n"
        "print(own_task(validate(json.loads(Path('search.json').read_text())).task).symbols)\n"
        "print(sys.modules['sent_away.reader'].__file__)\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("archive", "search.json"):
        (tmp_path / name).rename(elsewhere / name)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=elsewhere, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    symbols, file = done.stdout.split()
    assert symbols == "3"
    assert "tlc-tasks-" in file


def test_modules_beside_it_are_a_part_of_its_code(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "alone_task.py").write_text("import json\nimport beside_it\n")
    (tmp_path / "beside_it.py").write_text("def late():\n    import third_one\n")
    (tmp_path / "third_one.py").touch()
    (tmp_path / "unrelated.py").touch()
    code = code_of(importlib.import_module("alone_task"))
    assert code is not None
    assert code.names == ("alone_task", "beside_it", "third_one")
    before = code.digest
    (tmp_path / "third_one.py").write_text("x = 1\n")
    again = code_of(importlib.import_module("alone_task"))
    assert again is not None
    assert again.digest != before
