"""Names that failed starts leave, and searches that are deleted, renamed and compared."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from objectives.store.store import Store
from search.api.function_results import FunctionResults
from search.functions.run import make_sampler
from search.hypervolume import Scale, hypervolume_of
from search.storage.errors import BusyStudy
from search.storage.function_study import FunctionStudy
from search.storage.lease_holder import holding_lease
from search.storage.study import Study
from search.tracking.function_sync import FunctionSync
from search.tracking.tracker import sync_study
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations, Storage, sqlite_url
from spaces.functions.points import FunctionSpace
from spaces.functions.search import read_function_search
from tests.search.conftest import Tlc, made_up_result

MakeSearch = Callable[..., SearchFile]


@pytest.fixture
def tlc(home: Path, empty_database: Path, empty_mlflow: Path) -> Tlc:
    """The command line in the home of this process, with empty databases."""
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    return Tlc(home.parent)


def filled(tlc: Tlc, search: SearchFile, paths: dict[str, float]) -> Study:
    """A study with a trial for each training path, of some score; the store has their entries."""
    study = Study.open(search, tlc.study_url)
    store = Store(Locations.of(Storage()).store_url)
    study.set_data({"fingerprint": "same", "counts": {}, "label_names": []})
    for path, score in paths.items():
        addresses = {"model": f"models/{path}", "checkpoint": f"checkpoints/{path}/00000040"}
        for address in (*addresses.values(), f"checkpoints/stable-{path}/00000020"):
            store.write(address, lambda folder: (folder / "x").write_text("x"), is_final=False)
        result = made_up_result(score, score, **addresses)
        result["stages"] = [{**result["stages"][0], "key": f"stable-{path}"}]
        study.tell_result(study.ask().number, result)
    store.pins.write([f"models/{path}" for path in paths], study.study_id)
    return study


@pytest.mark.parametrize("fault", ["data", "from_searches"])
def test_a_start_that_fails_before_its_first_trial_leaves_no_name(
    fault: str, document: dict[str, Any], tlc: Tlc
) -> None:
    document = yaml.safe_load(yaml.safe_dump(document))
    if fault == "data":
        document["data"]["labelled"]["train"] = "missing.tsv"
    else:
        document |= {"from_searches": ["nothing"], "sampler": "frontier"}
    refused = tlc.ask("run", tlc.write(document))
    assert refused.returncode == 2
    assert {"data": "missing.tsv", "from_searches": "no search named 'nothing'"}[fault] in (
        refused.stderr
    )
    assert tlc.ask("list", "--json").stdout.strip() == "[]"
    client = MlflowClient(sqlite_url(tlc.folder / "home" / "mlflow.db"))
    assert client.get_experiment_by_name("tiny") is None


def test_a_study_without_trials_does_not_keep_its_name_from_another_search(
    make_search: MakeSearch, tlc: Tlc
) -> None:
    first = Study.open(make_search(), tlc.study_url)
    # Another process may have created it just now.
    with pytest.raises(BusyStudy, match="exists with another data"):
        Study.open(make_search(data__vocabulary_size=300), tlc.study_url)
    with suppress(RuntimeError), holding_lease(first):
        raise RuntimeError("its start fails")
    other = Study.open(make_search(data__vocabulary_size=300), tlc.study_url)
    assert other.search.data.vocabulary_size == 300
    with holding_lease(other), pytest.raises(BusyStudy, match="exists with another data"):
        Study.open(make_search(), tlc.study_url)
    other.ask()
    with pytest.raises(BusyStudy, match="exists with another data"):
        Study.open(make_search(), tlc.study_url)


def test_a_deleted_search_leaves_what_others_use(
    make_search: MakeSearch, tlc: Tlc, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Locations.of(Storage())
    first = filled(tlc, make_search(name="first"), {"own": 0.6, "shared": 0.7})
    second = filled(tlc, make_search(name="second"), {"shared": 0.7})
    for study in (first, second):
        sync_study(study, where)
    with holding_lease(first):
        busy = tlc.ask("delete", "first", "--yes")
        assert (busy.returncode, "is running" in busy.stderr) == (2, True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = tlc.ask("delete", "first")
    assert "2 trials with their runs in MLflow, and 3 checkpoints and models" in asked.stdout
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    deleted = tlc.ask("delete", "first", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert tlc.ask("delete", "first", "--yes").returncode == 2
    store = Store(where.store_url)
    left = store.addresses("checkpoints") | store.addresses("models")
    assert left == {
        "models/shared", "checkpoints/shared/00000040", "checkpoints/stable-shared/00000020",
    }  # fmt: skip
    assert store.pins.read() == {"models/shared"}
    client = MlflowClient(where.tracking_uri)
    assert client.get_experiment_by_name("second") is not None
    # The name is free in MLflow too.
    again = filled(tlc, make_search(name="first"), {"new": 0.5})
    assert sync_study(again, where) == 1


def test_a_renamed_search_is_found_by_its_new_name_alone(make_search: MakeSearch, tlc: Tlc) -> None:
    old = filled(tlc, make_search(name="old"), {"one": 0.6})
    filled(tlc, make_search(name="taken"), {"two": 0.6})
    Study.open(make_search(name="later", from_searches=["old"]), tlc.study_url)
    where = Locations.of(Storage())
    sync_study(old, where)
    for name, message in (("taken", "exists already"), ("a/b", "is not allowed")):
        refused = tlc.ask("rename", "old", name)
        assert (refused.returncode, message in refused.stderr) == (2, True)
    renamed = tlc.ask("rename", "old", "new")
    assert renamed.returncode == 0, renamed.stderr
    assert "'later' starts from 'new'" in renamed.stdout
    study = tlc.study("new")
    assert study.search.name == "new"
    assert [record.result["score"] for record in study.records()] == [0.6]
    assert tlc.study("later").search.from_searches == ["new"]
    assert tlc.ask("show", "old").returncode == 2
    client = MlflowClient(where.tracking_uri)
    assert client.get_experiment_by_name("old") is None
    assert client.get_experiment_by_name("new") is not None
    assert sync_study(study, where) == 0


def function_study(tlc: Tlc, name: str, **fields: Any) -> FunctionStudy:
    """The study of a search with a function, with a complete trial and its folder."""
    document = {
        "name": name,
        "space": {"x": {"choices": [1, 2, 3]}},
        "objectives": {"accuracy": "maximize"},
        "trials": 3,
    }
    space = FunctionSpace(read_function_search({**document, **fields}))
    study = FunctionStudy.open(space, tlc.study_url)
    study.optuna.sampler = make_sampler(study)
    metrics = {"accuracy": 0.6}
    result = {"score": 0.6, "metrics": metrics, "seconds": 1.0, "stages": {}}
    study.tell_result(study.ask().number, {**metrics, **result})
    (tlc.folder / "home" / "trials" / f"{name}-{study.study_id}").mkdir(parents=True)
    return study


def test_searches_with_functions_are_renamed_and_followed(tlc: Tlc) -> None:
    old = function_study(tlc, "old")
    function_study(tlc, "later", from_searches=["old"])
    where = Locations.of(Storage())
    FunctionSync(old, where).send(with_figures=False, is_running=False)
    renamed = tlc.ask("rename", "old", "new")
    assert renamed.returncode == 0, renamed.stderr
    assert renamed.stdout.splitlines() == [
        "search 'old' is now 'new'; what runs it needs the new name",
        "search 'later' starts from 'new' now; from_searches of its file has to too",
    ]
    results = FunctionResults("new", tlc.study_url)
    results.rename("newest")
    assert len(results.trials()) == 1
    study = FunctionStudy.load("newest", tlc.study_url)
    assert study.stage_scope == ("old", ""), "its trials keep what they share"
    assert FunctionStudy.load("later", tlc.study_url).search.from_searches == ["newest"]
    assert (tlc.folder / "home" / "trials" / f"newest-{study.study_id}").is_dir()
    client = MlflowClient(where.tracking_uri)
    assert client.get_experiment_by_name("old") is None
    assert client.get_experiment_by_name("newest") is not None


def test_who_deletes_what_a_function_search_starts_from_is_told(
    tlc: Tlc, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_study(tlc, "first")
    function_study(tlc, "later", from_searches=["first"])
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = tlc.ask("delete", "first")
    assert "; later starts from its trials (from_searches)" in asked.stdout


def test_compared_searches_have_one_box(make_search: MakeSearch, tlc: Tlc) -> None:
    small = filled(tlc, make_search(name="small"), {"one": 0.6, "two": 0.7})
    wide = make_search(name="large", space__width={"choices": [32, 256]})
    large = filled(tlc, wide, {"one": 0.6, "three": 0.8})
    scales = [Scale.of(study.space) for study in (small, large)]
    assert scales[0].highest < scales[1].highest
    import tlc as python

    made = python.compare("small", "large")
    assert made.ranges == {"size_mb": (scales[0].lowest, scales[1].highest)}
    for study, row in zip((small, large), made.searches, strict=True):
        volume = hypervolume_of(study.records(), study.criteria, scales[1])
        assert row.hypervolume == pytest.approx(volume)
        assert row.complete == 2
    page = Path(made.page).read_text()
    assert '"small"' in page
    assert '"large"' in page
    printed = tlc.ask("compare", "small", "large")
    assert printed.returncode == 0, printed.stderr
    assert "0.8" in printed.stdout


def test_searches_of_different_metrics_or_data_are_not_compared(
    make_search: MakeSearch, tlc: Tlc
) -> None:
    filled(tlc, make_search(name="one"), {"one": 0.6})
    Study.open(make_search(name="other", objectives=["macro-f1", "size_mb"]), tlc.study_url)
    refused = tlc.ask("compare", "one", "other")
    assert refused.returncode == 2
    assert "metric: one has accuracy, other has macro-f1" in refused.stderr
    assert "data: one has same, other has none yet" in refused.stderr
    assert tlc.ask("compare", "one", "one").returncode == 2
