"""A search in surroundings that libraries stumble over, and in a home that is moved afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from spaces.file.storage import sqlite_url
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


def test_a_search_in_odd_surroundings_is_recorded_and_printed(odd: tuple[Tlc, str]) -> None:
    tlc, printed = odd
    assert printed.isascii()
    assert "starting Ray ..." in printed
    assert (tlc.folder / "home" / "study.db").is_file()
    assert (tlc.folder / "home" / "reports" / "tiny" / "frontier.html").is_file()


def test_a_moved_home_is_used_where_it_is(odd: tuple[Tlc, str], tmp_path: Path) -> None:
    tlc = odd[0]
    assert tlc.ask("register", "tiny", "--as", "winners").returncode == 0
    moved = Tlc(tmp_path / "elsewhere")
    shutil.move(tlc.folder, moved.folder)
    again = moved.ask("register", "tiny", "--as", "winners")
    assert again.returncode == 0, again.stderr
    assert "registered before" in again.stdout
    exported = moved.ask("export", "tiny", "--to", "model")
    assert exported.returncode == 0, exported.stderr
    client = MlflowClient(sqlite_url(moved.folder / "home" / "mlflow.db"))
    (registered,) = client.search_registered_models()
    champion = client.get_model_version_by_alias(registered.name, "champion")
    location = client.get_model_version_download_uri(registered.name, champion.version)
    model = client.get_logged_model(location.rpartition("/")[2]) if "models:/" in location else None
    folder = location if model is None else model.artifact_location
    assert folder.startswith((moved.folder / "home").as_uri())
    assert not tlc.folder.exists()
