"""MLflow as a view: complete, without duplicates, and without blocking the search."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from search.functions.run import make_sampler
from search.mlflow_links import MlflowLinks
from search.seeds import Repeats
from search.storage.function_study import FunctionStudy
from search.storage.lease import LEASE, Lease
from search.storage.lease_holder import local_lease
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.descriptions import search_description
from search.tracking.function_sync import FunctionSync
from search.tracking.sync import MlflowSync
from search.tracking.tracker import Tracker, sync_all, sync_study, sync_unless_running
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations
from spaces.functions.points import FunctionSpace
from spaces.functions.search import read_function_search
from spaces.loading import validate
from tests.search.conftest import made_up_reference, made_up_result, mlflow_runs


@pytest.fixture(scope="module")
def database(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one MLflow database for all tests here."""
    folder = tmp_path_factory.mktemp("tracked")
    shutil.copy(empty_mlflow, folder)
    return folder


@pytest.fixture
def where(study: Study, database: Path, request: pytest.FixtureRequest) -> Locations:
    # Experiments are named after searches: one name a test.
    search = study.search.model_copy(update={"name": request.node.name[-60:]})
    study.search = search
    return replace(
        Locations.of(search.storage),
        tracking_uri=f"sqlite:///{database / 'mlflow.db'}",
        artifacts=database / "artifacts",
    )


def fill(study: Study) -> None:
    for accuracy, size in ((0.6, 0.1), (0.8, 0.2), (0.7, 0.4)):
        curve = [[10.0, 2.0], [20.0, 1.0]]
        study.tell_result(study.ask().number, made_up_result(accuracy, size), curve)
    study.tell_failure(study.ask().number, "diverged", "the loss rose")
    study.ask()


def test_every_trial_is_a_nested_run_with_its_numbers(study: Study, where: Locations) -> None:
    fill(study)
    MlflowSync(study, where).send(with_figures=True)
    client = MlflowClient(where.tracking_uri)
    parent, nested = mlflow_runs(where, study.search.name)
    assert [nested[str(n)].info.status for n in range(5)] == [
        "FINISHED", "FINISHED", "FINISHED", "FAILED", "RUNNING",
    ]  # fmt: skip
    first = nested["0"]
    assert first.data.metrics["accuracy"] == 0.6
    assert len(first.data.metrics) <= 17
    for dimension in ("depth", "width", "budget", "quantisation", "bits", "sparsity"):
        assert dimension in first.data.params
    states = [nested[str(n)].data.tags["tlc.state"] for n in range(5)]
    assert states == ["complete", "complete", "complete", "diverged", "running"]
    members = [nested[str(n)].data.tags["on_frontier"] for n in range(4)]
    assert members == ["true", "true", "false", "false"]
    losses = client.get_metric_history(first.info.run_id, "train_loss")
    assert [(metric.step, metric.value) for metric in losses] == [(10, 2.0), (20, 1.0)]
    evaluation = client.download_artifacts(first.info.run_id, "evaluation.json")
    assert json.loads(Path(evaluation).read_text())["steps"]["reused"] == 60

    volumes = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [metric.step for metric in volumes] == [1, 2, 3, 4]
    assert any(name.startswith("accuracy_at_") for name in parent.data.metrics)
    artefacts = {item.path for item in client.list_artifacts(parent.info.run_id, "frontier")}
    assert artefacts == {
        "frontier/frontier.html", "frontier/frontier.png", "frontier/frontier.json",
        "frontier/parallel_coordinates.html",
    }  # fmt: skip
    assert "References" not in parent.data.tags["mlflow.note.content"]
    assert "| trial | depth |" in parent.data.tags["mlflow.note.content"]


def test_references_are_metrics_of_the_search_and_sent_once(study: Study, where: Locations) -> None:
    fill(study)
    study.set_references([made_up_reference("logistic regression, 2,000 n-grams", 0.7, 0.02)])
    for _ in range(2):
        MlflowSync(study, where).send(with_figures=True)
    parent, _ = mlflow_runs(where, study.search.name)
    prefix = "reference/logistic regression 2000 ngrams"
    assert parent.data.metrics[f"{prefix}/validation accuracy"] == 0.7
    assert parent.data.metrics[f"{prefix}/test accuracy"] == 0.69
    assert parent.data.metrics[f"{prefix}/size_mb"] == 0.02
    client = MlflowClient(where.tracking_uri)
    assert len(client.get_metric_history(parent.info.run_id, f"{prefix}/size_mb")) == 1
    note = parent.data.tags["mlflow.note.content"]
    assert "| logistic regression, 2,000 n-grams | 0.700 | 0.680 to 0.720 | 0.690 | 0.020 |" in note
    folder = client.download_artifacts(parent.info.run_id, "frontier")
    answer = json.loads((Path(folder) / "frontier.json").read_text())
    assert [each["name"] for each in answer["references"]] == ["logistic regression, 2,000 n-grams"]


def test_repeats_are_nested_runs_grouped_with_what_they_repeat(
    study: Study, where: Locations
) -> None:
    fill(study)
    repeat = study.repeat(1, 1)
    study.tell_result(repeat.number, made_up_result(0.75, 0.2))
    MlflowSync(study, where).send(with_figures=True)
    parent, nested = mlflow_runs(where, study.search.name)
    first, again = nested["1"], nested[str(repeat.number)]
    assert (first.data.params["seed"], again.data.params["seed"]) == ("0", "1")
    assert first.data.tags["tlc.group"] == again.data.tags["tlc.group"] == "#1"
    assert nested["0"].data.tags["tlc.group"] == "#0"
    assert again.data.tags["on_frontier"] == "false"
    assert again.info.run_name.endswith("seed 1")
    note = parent.data.tags["mlflow.note.content"]
    assert "| further seeds | their test |" in note
    assert "0.750 (1 seed)" in note
    # They are no trials of the search: four have finished.
    assert "**4 of 20 trials** are finished" in note
    volumes = MlflowClient(where.tracking_uri).get_metric_history(parent.info.run_id, "hypervolume")
    assert [metric.step for metric in volumes] == [1, 2, 3, 4]


def test_run_names_and_the_description_link_to_the_trials(study: Study, where: Locations) -> None:
    fill(study)
    MlflowSync(study, where).send(with_figures=True)
    parent, nested = mlflow_runs(where, study.search.name)
    name = nested["0"].info.run_name
    assert name.startswith("#0 depth ")
    assert "width" in name
    note = parent.data.tags["mlflow.note.content"]
    assert "**4 of 20 trials** are finished (1 failed), **2** are on the frontier." in note
    for number in ("0", "1"):
        run = nested[number].info.run_id
        assert f"[#{number}](#/experiments/{parent.info.experiment_id}/runs/{run}?" in note
    assert f"tlc best {study.search.name} --max-size-mb" in note


def test_progress_is_charted_over_trials_and_over_compute(study: Study, where: Locations) -> None:
    fill(study)
    MlflowSync(study, where).send(with_figures=False)
    study.tell_result(4, made_up_result(0.9, 0.05))
    MlflowSync(study, where).send(with_figures=False)
    client = MlflowClient(where.tracking_uri)
    parent = mlflow_runs(where, study.search.name)[0]
    for name in parent.data.metrics:
        if not name.startswith("by_compute_seconds/"):
            by_trials, by_compute = (
                client.get_metric_history(parent.info.run_id, key)
                for key in (name, f"by_compute_seconds/{name}")
            )
            assert [m.value for m in by_trials] == [m.value for m in by_compute]
    # 4.2 s each, and of the failed one what it ran.
    volumes = client.get_metric_history(parent.info.run_id, "by_compute_seconds/hypervolume")
    steps = [metric.step for metric in volumes]
    assert steps[:3] == [4, 8, 12]
    assert steps[4] - steps[3] in (4, 5)


def test_the_data_is_a_dataset_of_the_run(study: Study, where: Locations) -> None:
    study.set_data({"fingerprint": "f" * 64, "label_names": ["a", "b"], "counts": {"train": 9}})
    fill(study)
    for _ in range(2):
        MlflowSync(study, where).send(with_figures=False)
    parent, _ = mlflow_runs(where, study.search.name)
    (used,) = parent.inputs.dataset_inputs
    assert used.dataset.digest == "f" * 36
    assert used.dataset.name == "unlabelled: files, labelled: files"
    assert json.loads(used.dataset.profile) == {"train": 9, "labels": 2}
    assert [tag.key for tag in used.tags] == ["mlflow.data.context"]


def test_the_description_of_a_long_frontier_is_whole(study: Study, where: Locations) -> None:
    for number in range(20):
        study.tell_result(study.ask().number, made_up_result(0.5 + number / 50, 0.1 + number / 10))
    links = MlflowLinks("1" * 19, "p" * 32, {number: "r" * 32 for number in range(20)})
    repeats = [replace(r, number=r.number + 100, repeats=r.number) for r in study.records()]
    for records in (study.records(), [replace(r, number=r.number % 20) for r in longer(study)]):
        for known in (Repeats(()), Repeats(repeats)):
            note = search_description(study, records, links, known)
            # MLflow cuts off what is longer.
            assert len(note) <= 8000
            assert note.endswith("```")
            assert ("further seeds" in note) == bool(known)


def longer(study: Study) -> list[TrialRecord]:
    """Ten times as many, all on the frontier."""
    records = study.records()
    return [
        replace(record, result=made_up_result(0.5 + place / 500, 0.1 + place / 100))
        for place, record in enumerate(10 * records)
    ]


def test_addresses_of_stores_are_not_logged(
    make_search: Callable[..., SearchFile], where: Locations, home: Path
) -> None:
    storage = {"store": "s3://key:secret@host/bucket"}
    search = make_search(name="secret", trials=20, storage=storage)
    study = Study.open(search, f"sqlite:///{home / 'secret.db'}")
    fill(study)
    MlflowSync(study, where).send(with_figures=False)
    client = MlflowClient(where.tracking_uri)
    shown = client.download_artifacts(mlflow_runs(where, "secret")[0].info.run_id, "search.yaml")
    document = yaml.safe_load(Path(shown).read_text())
    assert "storage" not in document
    assert validate(document).identity() == search.identity()


def test_a_description_that_a_user_wrote_is_kept(study: Study, where: Locations) -> None:
    fill(study)
    MlflowSync(study, where).send(with_figures=False)
    client = MlflowClient(where.tracking_uri)
    made = client.get_experiment_by_name(study.search.name)
    assert made is not None
    assert "[all trials](#/experiments/" in made.tags["mlflow.note.content"]
    view = json.loads(made.tags["mlflow.sharedViewState.tlc-trials"])
    columns = json.loads(view["state"])["selectedColumns"]
    assert {"metrics.`accuracy`", "metrics.`size_mb`", "params.`depth`"} <= set(columns)
    client.set_experiment_tag(made.experiment_id, "mlflow.note.content", "mine")
    MlflowSync(study, where).send(with_figures=False)
    again = client.get_experiment_by_name(study.search.name)
    assert again is not None
    assert again.tags["mlflow.note.content"] == "mine"


def test_scores_are_logged_under_the_name_of_their_metric(
    make_task_search: Callable[..., SearchFile], where: Locations, home: Path
) -> None:
    search = make_task_search("causal-lm", trials=20)
    study = Study.open(search, f"sqlite:///{home / 'perplexity.db'}")
    for score, size in ((80.0, 0.1), (20.0, 0.2), (40.0, 0.2)):
        made = made_up_result(score, size, metric="perplexity")
        study.tell_result(study.ask().number, made)
    MlflowSync(study, where).send(with_figures=False)
    parent, nested = mlflow_runs(where, search.name)
    metrics = nested["1"].data.metrics
    assert metrics["perplexity"] == metrics["dense_perplexity"] == 20.0
    assert {"perplexity_low", "perplexity_high"} <= metrics.keys()
    assert not any("score" in name or "accuracy" in name for name in metrics)
    levels = {n: v for n, v in parent.data.metrics.items() if n.startswith("perplexity_at_")}
    assert levels
    assert min(levels.values()) == pytest.approx(20.0)
    assert "| perplexity |" in parent.data.tags["mlflow.note.content"]


def test_a_resumed_search_continues_in_the_same_runs(study: Study, where: Locations) -> None:
    fill(study)
    MlflowSync(study, where).send(with_figures=False)
    before = mlflow_runs(where, study.search.name)
    study.tell_result(4, made_up_result(0.9, 0.05))
    study.tell_result(study.ask().number, made_up_result(0.5, 0.3))
    MlflowSync(study, where).send(with_figures=False)
    parent, nested = mlflow_runs(where, study.search.name)
    assert parent.info.run_id == before[0].info.run_id
    assert len(nested) == 6
    assert nested["4"].info.run_id == before[1]["4"].info.run_id
    assert nested["4"].info.status == "FINISHED"
    assert nested["1"].data.tags["on_frontier"] == "false"
    client = MlflowClient(where.tracking_uri)
    volumes = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [metric.step for metric in volumes] == [1, 2, 3, 4, 5, 6]
    accuracies = client.get_metric_history(nested["0"].info.run_id, "accuracy")
    assert len(accuracies) == 1


@pytest.mark.parametrize("happens", [True, False], ids=["reply lost", "refused"])
def test_an_error_at_any_call_loses_and_duplicates_nothing(
    study: Study, where: Locations, monkeypatch: pytest.MonkeyPatch, happens: bool
) -> None:
    study.set_data({"fingerprint": "f" * 64, "label_names": [], "counts": {}})
    fill(study)
    flaky = Flaky(happens=happens)
    flaky.patch(monkeypatch)
    mirror = MlflowSync(study, where)
    while flaky.fails_at < flaky.calls + 2:
        flaky.calls, flaky.fails_at = 0, flaky.fails_at + 1
        with suppress(ConnectionError):
            mirror.send(with_figures=False)
            break
        mirror.reset()
    check_complete(study, where)


CALLS = (
    "create_experiment", "set_experiment_tag", "create_run", "log_batch", "log_text", "log_inputs",
    "log_dict", "set_terminated",
)  # fmt: skip


class Flaky:
    """Makes one call to MLflow fail in each sending, each time a later one."""

    def __init__(self, *, happens: bool) -> None:
        self.happens = happens
        self.calls = 0
        self.fails_at = 0

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            monkeypatch.setattr(MlflowClient, name, self._failing(getattr(MlflowClient, name)))

    def _failing(self, real: Any) -> Any:
        def call(*positional: Any, **named: Any) -> Any:
            self.calls += 1
            fails = self.calls == self.fails_at
            reply = real(*positional, **named) if self.happens or not fails else None
            if fails:
                raise ConnectionError("away")
            return reply

        return call


def check_complete(study: Study, where: Locations) -> None:
    client = MlflowClient(where.tracking_uri)
    parent, nested = mlflow_runs(where, study.search.name)
    assert len(parent.inputs.dataset_inputs) == 1
    assert set(nested) == {"0", "1", "2", "3", "4"}
    assert [nested[str(n)].info.status for n in range(5)] == [
        "FINISHED", "FINISHED", "FINISHED", "FAILED", "RUNNING",
    ]  # fmt: skip
    for run in nested.values():
        assert {"depth", "seed"} <= run.data.params.keys()
    for number in range(3):
        run = nested[str(number)]
        assert {"accuracy", "train_loss"} <= run.data.metrics.keys()
        assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["evaluation.json"]
        assert len(client.get_metric_history(run.info.run_id, "accuracy")) == 1
    assert parent.data.params["objectives"] == "accuracy size_mb"
    volumes = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [metric.step for metric in volumes] == [1, 2, 3, 4]


def test_a_deleted_run_is_not_created_again(study: Study, where: Locations) -> None:
    fill(study)
    sync_study(study, where)
    client = MlflowClient(where.tracking_uri)
    client.delete_run(mlflow_runs(where, study.search.name)[1]["3"].info.run_id)
    sync_study(study, where)
    assert set(mlflow_runs(where, study.search.name)[1]) == {"0", "1", "2", "4"}


def test_a_long_curve_is_sent_whole(study: Study, where: Locations) -> None:
    curve = [[float(step), 1.0 / step] for step in range(1, 2001)]
    study.tell_result(study.ask().number, made_up_result(0.6, 0.1), curve)
    sync_study(study, where)
    run = mlflow_runs(where, study.search.name)[1]["0"]
    history = MlflowClient(where.tracking_uri).get_metric_history(run.info.run_id, "train_loss")
    assert len(history) == 2000


def test_two_servers_used_in_turn_each_get_every_trial_once(
    study: Study, where: Locations, tmp_path: Path, empty_mlflow: Path
) -> None:
    fill(study)
    shutil.copy(empty_mlflow, tmp_path / "other.db")
    other = replace(where, tracking_uri=f"sqlite:///{tmp_path / 'other.db'}")
    for place in (where, other, where, other):
        sync_study(study, place)
    assert len(mlflow_runs(where, study.search.name)[1]) == 5
    assert len(mlflow_runs(other, study.search.name)[1]) == 5


def test_two_studies_with_one_name_have_two_parent_runs(
    study: Study, where: Locations, tmp_path: Path
) -> None:
    fill(study)
    sync_study(study, where)
    other = Study.open(study.search, f"sqlite:///{tmp_path / 'other.db'}")
    other.tell_result(other.ask().number, made_up_result(0.9, 0.1))
    assert sync_study(other, where) == 1
    client = MlflowClient(where.tracking_uri)
    experiment = client.get_experiment_by_name(study.search.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    parents = [run.data.tags.get("mlflow.parentRunId") for run in found]
    assert sorted(Counter(parents).values()) == [1, 2, 5]


def test_a_stopped_search_is_killed_and_finished_after_it_resumes(
    study: Study, where: Locations
) -> None:
    fill(study)
    for expected in ("KILLED", "FINISHED"):
        tracker = Tracker(MlflowSync(study, where))
        tracker.start()
        assert tracker.close(60.0)
        assert mlflow_runs(where, study.search.name)[0].info.status == expected
        study.tell_result(4, made_up_result(0.5, 0.5))


def test_a_search_that_runs_here_is_not_sent_by_another_process(
    study: Study, where: Locations, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(study)
    monkeypatch.setattr("search.tracking.tracker.load_all", lambda url: [study])
    with local_lease(study.search.name, home / "leases"):
        sync_all(where.study_url, where)
    client = MlflowClient(where.tracking_uri)
    assert client.get_experiment_by_name(study.search.name) is None
    sync_all(where.study_url, where)
    assert len(mlflow_runs(where, study.search.name)[1]) == 5
    sync_all(where.study_url, replace(where, tracking_uri="http://127.0.0.1:9"))


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_a_process_that_lost_its_lease_sends_nothing_more(
    study: Study, where: Locations, looks: int
) -> None:
    fill(study)
    left = looks

    def has_lost_lease() -> bool:
        nonlocal left
        left -= 1
        if left == -1:
            # Another process takes over and sends everything.
            sync_study(study, where)
        return left < 0

    frozen = Tracker(MlflowSync(study, where, has_lost_lease))
    frozen.start()
    assert frozen.close(60.0), "it has nothing to send"
    parent, nested = mlflow_runs(where, study.search.name)
    assert len(nested) == 5
    assert parent.info.status == "RUNNING", "only the lease holder sets the final status"


def test_a_search_that_runs_elsewhere_is_not_sent(study: Study, where: Locations) -> None:
    fill(study)
    elsewhere = replace(Lease(), host="elsewhere")
    assert study.exchange(LEASE, None, asdict(elsewhere))
    sync_unless_running(study, where)
    client = MlflowClient(where.tracking_uri)
    assert client.get_experiment_by_name(study.search.name) is None
    assert study.exchange(LEASE, asdict(elsewhere), asdict(replace(elsewhere, state="stopped")))
    sync_unless_running(study, where)
    assert len(mlflow_runs(where, study.search.name)[1]) == 5


def test_a_lost_reply_does_not_make_a_second_run(
    study: Study, where: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(study)
    real = MlflowClient.create_run
    replies_to_lose = [True, False, True]

    def create_run(*positional: Any, **named: Any) -> Any:
        run = real(*positional, **named)
        if replies_to_lose and replies_to_lose.pop():
            raise ConnectionError("the reply was lost")
        return run

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    mirror = MlflowSync(study, where)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            mirror.send(with_figures=False)
        mirror.reset()
    mirror.send(with_figures=False)
    parent, nested = mlflow_runs(where, study.search.name)
    assert len(nested) == 5
    assert all(run.data.params["depth"] for run in nested.values())
    assert parent.data.params["objectives"] == "accuracy size_mb"


def test_a_lost_database_is_rebuilt_from_the_study(
    study: Study, where: Locations, tmp_path: Path, empty_mlflow: Path
) -> None:
    fill(study)
    MlflowSync(study, where).send(with_figures=False)
    shutil.copy(empty_mlflow, tmp_path / "new.db")
    elsewhere = replace(where, tracking_uri=f"sqlite:///{tmp_path / 'new.db'}")
    assert MlflowSync(study, elsewhere).send(with_figures=False) == 5
    assert len(mlflow_runs(elsewhere, study.search.name)[1]) == 5


def test_complete_runs_are_not_sent_again(study: Study, where: Locations) -> None:
    fill(study)
    MlflowSync(study, where).send(with_figures=False)
    # All but the running trial are there.
    assert MlflowSync(study, where).send(with_figures=False) == 1


def test_an_unreachable_mlflow_blocks_and_loses_nothing(
    study: Study, where: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(MlflowSync(study, replace(where, tracking_uri="http://127.0.0.1:9")))
    tracker.start()
    fill(study)
    started = time.perf_counter()
    for _ in range(100):
        tracker.notify()
    assert time.perf_counter() - started < 0.1
    assert not tracker.close(2.0)

    back = Tracker(MlflowSync(study, where))
    back.start()
    assert back.close(60.0)
    assert len(mlflow_runs(where, study.search.name)[1]) == 5


def test_another_version_of_mlflow_is_refused_at_the_start(
    study: Study, where: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaces.errors.version", {"optuna": "5.0.0", "mlflow": "3.170.0"}.get)
    with pytest.raises(UserError, match=r"mlflow 3\.17.*3\.170\.0"):
        Tracker(MlflowSync(study, where))


def test_a_trial_of_a_function_that_mlflow_rejects_holds_up_no_other(
    where: Locations, home: Path
) -> None:
    document = {
        "name": "functions",
        "space": {"x": {"choices": [1, 2, 3]}},
        "objectives": {"accuracy": "maximize", "recall": "maximize", "seconds_a_step": "minimize"},
        "sampler": "grid",
        "trials": 3,
    }
    space = FunctionSpace(read_function_search(document))
    study = FunctionStudy.open(space, f"sqlite:///{home / 'study.db'}")
    study.optuna.sampler = make_sampler(study)
    for accuracy in (0.5, 0.7, 0.6):
        metrics = {"accuracy": accuracy, "recall": 1.0 - accuracy, "seconds_a_step": 0.1}
        if accuracy == 0.5:
            # MLflow has no such names.
            metrics["top//5"] = 0.9
        result = {"score": accuracy, "metrics": metrics, "seconds": 1.0, "stages": {}}
        study.tell_result(study.ask().number, {**metrics, **result})
    sync = FunctionSync(study, where)
    with pytest.raises(MlflowException, match="top//5"):
        sync.send(with_figures=True, is_running=False)
    parent, nested = mlflow_runs(where, study.search.name)
    # The first is a run that is not complete.
    assert [nested[str(n)].info.status for n in range(3)] == ["RUNNING", "FINISHED", "FINISHED"]
    assert parent.info.status == "FINISHED"
    assert nested["1"].data.tags["on_frontier"] == "true"
    client = MlflowClient(where.tracking_uri)
    history = client.get_metric_history(parent.info.run_id, "best_accuracy")
    assert [metric.value for metric in history] == [0.5, 0.7, 0.7]
    page = client.download_artifacts(parent.info.run_id, "frontier/frontier.html")
    assert "recall against seconds_a_step" in Path(page).read_text()


def test_tables_of_another_version_of_mlflow_are_refused(
    study: Study, empty_mlflow: Path, home: Path
) -> None:
    shutil.copy(empty_mlflow, home / "mlflow.db")
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = 'abc'")
    with pytest.raises(UserError, match=r"schema abc of MLflow's tables; tlc supports .* 3\.17"):
        sync_study(study, Locations.of(study.search.storage))
