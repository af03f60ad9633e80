"""A search in surroundings that libraries stumble over, and in a home that is moved afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from search.tracking.client import mlflow_client
from spaces.file.storage import Locations, Storage
from tests.search.conftest import Tlc

DEAD_PROXY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def odd(
    document: dict[str, Any], empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tlc, str]:
    """A home of odd characters after a search, and what the search printed: in a folder with
    modules of the names of tlc's packages and of MLflow, with a long folder for temporary files, a
    proxy that does not answer, and an output that can only encode ASCII."""
    folder = tmp_path_factory.mktemp("odd") / "a #1?b%20c é"
    temporary = folder / ("long" * 40)
    temporary.mkdir(parents=True)
    tlc = Tlc(folder)
    tlc.add_modules_of_the_same_names()
    (folder / "mlflow").mkdir()
    (folder / "mlflow" / "__init__.py").write_text("raise ImportError('a module of the user')")
    (folder / "home").mkdir()
    shutil.copy(empty_mlflow, folder / "home" / "mlflow.db")
    space = {
        **document["space"],
        "depth": {"choices": [1]},
        "width": {"choices": [32]},
        "budget": {"unit": "steps", "choices": [20]},
        "quantisation": {"choices": ["none", "rtn-8"]},
        "sparsity": {"choices": [0.0]},
    }
    file = tlc.write(document, space=space, trials=2, concurrency=1)
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), DEAD_PROXY)
    done = tlc(
        "run", file, **proxies, TMPDIR=str(temporary), PYTHONIOENCODING="ascii", no_proxy="",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]
    return tlc, done.stdout


@pytest.mark.slow
def test_a_search_in_odd_surroundings_is_recorded_and_printed(odd: tuple[Tlc, str]) -> None:
    tlc, printed = odd
    assert printed.isascii()
    assert "starting Ray ..." in printed
    assert (tlc.folder / "home" / "study.db").is_file()
    assert (tlc.folder / "home" / "reports" / "tiny" / "frontier.html").is_file()


@pytest.mark.slow
def test_a_copied_home_is_used_where_it_is(odd: tuple[Tlc, str], tmp_path: Path) -> None:
    tlc, copied = odd[0], Tlc(tmp_path / "elsewhere")
    shutil.copytree(tlc.folder, copied.folder)
    before = {path: path.stat().st_mtime_ns for path in tlc.folder.rglob("*")}
    for command in (("report", "tiny"), ("export", "tiny", "--to", "model")):
        done = copied.ask(*command)
        assert done.returncode == 0, done.stderr
    assert list((copied.folder / "home" / "mlartifacts").rglob("report.html"))
    assert before == {path: path.stat().st_mtime_ns for path in tlc.folder.rglob("*")}


def test_mlflow_reads_and_writes_where_a_home_was_moved_to(
    empty_mlflow: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    shutil.copy(empty_mlflow, home / "mlflow.db")
    where = Locations.of(Storage())
    assert where.artifacts is not None
    client = mlflow_client(where)
    location = (where.artifacts / "tiny").as_uri()
    experiment = client.create_experiment("tiny", artifact_location=location)
    elsewhere = client.create_experiment("other", artifact_location="s3://bucket/mlartifacts/other")
    run = client.create_run(experiment).info
    client.log_text(run.run_id, "written before", "before.txt")
    client.create_registered_model("winners")
    client.create_model_version("winners", f"{run.artifact_uri}/model", run.run_id)
    shutil.move(home, tmp_path / "moved")
    monkeypatch.setenv("TLC_HOME", str(tmp_path / "moved"))
    client = mlflow_client(Locations.of(Storage()))
    client.log_text(run.run_id, "written after", "after.txt")
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"after.txt", "before.txt"}
    source = client.get_model_version("winners", "1").source
    assert source.startswith((tmp_path / "moved").as_uri())
    other = client.get_experiment(elsewhere)
    assert other.artifact_location == "s3://bucket/mlartifacts/other"
    assert not home.exists()
