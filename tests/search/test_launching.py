"""Starting searches elsewhere: portable files, the lease, and the request to stop."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from search.results.queries import StudyQueries
from search.storage.database import study_names
from search.storage.errors import BusyStudy
from search.storage.lease import LEASE, Lease, LeaseMonitor, announce, confirmed_state, request_stop
from search.storage.lease_holder import holding_lease
from search.storage.study import Study
from search.submission.local import LaunchError, LocalProcesses
from search.submission.ray_jobs import check_portable, pinned_requirements
from spaces.file.search_file import SearchFile
from spaces.file.storage import Storage, without_password
from spaces.loading import load
from tests.search.conftest import made_up_result
from tests.waiting import wait_for

PLACES = {
    "storage__study": "postgresql+psycopg://db/tlc",
    "storage__store": "s3://bucket/tlc",
    "storage__mlflow": "http://mlflow:5000",
}


def test_a_search_whose_locations_all_nodes_reach_is_portable(
    make_search: Callable[..., SearchFile],
) -> None:
    check_portable(make_search(**PLACES))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"storage__study": None}, "storage.study: is missing; a cluster needs a database"),
        ({"storage__store": None}, "storage.store: is missing"),
        ({"storage__mlflow": None}, "storage.mlflow: is missing"),
        ({"storage__store": "models"}, "storage.store: 'models' starts in the current folder"),
        (
            {"data__unlabelled__train": "text.txt"},
            "data.unlabelled.train: 'text.txt' starts in the current folder",
        ),
    ],
)
def test_locations_that_other_machines_lack_are_refused_by_field(
    fields: dict[str, Any], message: str, make_search: Callable[..., SearchFile]
) -> None:
    with pytest.raises(LaunchError) as refused:
        check_portable(make_search(**{**PLACES, **fields}))
    assert message in str(refused.value)


def test_nodes_get_the_versions_that_are_installed_here() -> None:
    storage = Storage(study="postgresql+psycopg://tlc@db/tlc", store="s3://bucket/tlc")
    pinned = dict(line.split("==") for line in pinned_requirements(storage))
    import optuna
    import psycopg

    assert pinned["optuna"] == optuna.__version__
    assert "+" not in pinned["torch"]
    # What a requirement needs, too; but not what the cluster brings, nor tlc itself.
    assert pinned["psycopg"] == psycopg.__version__
    assert "psycopg" not in "\n".join(pinned_requirements(Storage()))
    assert "SQLAlchemy" in pinned or "sqlalchemy" in pinned
    assert not {"ray", "tlc-search"} & set(pinned)


def test_the_lease_tells_the_state_of_a_search(study: Study) -> None:
    assert confirmed_state(study) == "new"
    with holding_lease(study) as holder:
        assert confirmed_state(study) == "running"
        holder.end("finished", "all is done")
        # Not before it has ended.
        assert confirmed_state(study) == "running"
    assert confirmed_state(study) == "finished"
    with pytest.raises(ValueError, match="broken"), holding_lease(study):
        raise ValueError("broken")
    assert confirmed_state(study) == "failed"
    assert study.attributes[LEASE]["ended"] == "broken"


def test_a_lease_without_heartbeats_expires_and_one_held_elsewhere_is_refused(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.storage.lease.OBSERVE_SECONDS", 1.0)
    other = Lease(host="elsewhere")
    study.optuna.set_user_attr(LEASE, asdict(other))
    with pytest.raises(BusyStudy, match="is running already, on elsewhere"), holding_lease(study):
        pass
    silent = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    study.optuna.set_user_attr(LEASE, {**asdict(other), "last_heartbeat": silent})
    assert confirmed_state(study) == "lost"
    with holding_lease(study):
        assert confirmed_state(study) == "running"


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_holder_with_a_wrong_clock_is_alive_while_its_heartbeats_grow(
    hours: int, study: Study
) -> None:
    def renew(lease: Lease) -> Lease:
        moment = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        renewed = replace(lease.renewed(), last_heartbeat=moment)
        study.optuna.set_user_attr(LEASE, asdict(renewed))
        return renewed

    other = renew(Lease(host="elsewhere"))
    monitor = LeaseMonitor()
    assert monitor.state(study.attributes) is None
    other = renew(other)
    assert monitor.state(study.attributes) == "running"

    left = threading.Event()

    def live() -> None:
        living = other
        while not left.wait(0.7):
            living = renew(living)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert confirmed_state(study) == "running"
        with (
            pytest.raises(BusyStudy, match="is running already, on elsewhere"),
            holding_lease(study),
        ):
            pass
        request_stop(study)
    finally:
        left.set()
        thread.join()


def test_a_lease_held_from_another_home_on_this_machine_is_refused(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with holding_lease(study):
        monkeypatch.setenv("TLC_HOME", str(tmp_path / "another"))
        with pytest.raises(BusyStudy, match="is running already"), holding_lease(study):
            pass
    # A process that is known to be dead is not observed.
    gone = subprocess.Popen(["true"])
    gone.wait()
    silent = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    dead = Lease(home="/elsewhere", pid=gone.pid, last_heartbeat=silent)
    study.optuna.set_user_attr(LEASE, asdict(dead))
    assert LeaseMonitor().state(study.attributes) == "lost"


def test_a_holder_that_lost_its_lease_stops_and_does_not_renew_it(study: Study) -> None:
    stopped = threading.Event()
    with holding_lease(study, stopped.set) as holder:
        study.optuna.set_user_attr(LEASE, asdict(Lease(host="elsewhere", run="another")))
        assert stopped.wait(20)
        assert holder.must_stop
    assert study.attributes[LEASE]["run"] == "another"
    assert study.attributes[LEASE]["state"] == "running"


def test_of_many_concurrent_claims_one_succeeds(
    study: Study, make_search: Callable[..., SearchFile], home: Path
) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    together = threading.Barrier(8)

    def claim(run: int) -> list[bool]:
        own = Study.load("tiny", url)
        claims = []
        for before, after in ((None, {"run": -1}), ({"run": -1}, {"run": run})):
            together.wait()
            claims.append(own.exchange("key", before, after))
        return claims

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(claim, range(8)))
    assert [sum(column) for column in zip(*claims, strict=True)] == [1, 1]
    assert study.attributes["key"]["run"] in range(8)
    # Two processes that both found it not running.
    announce(study, None)
    with pytest.raises(BusyStudy, match="is running already"):
        announce(study, None)


def test_a_request_to_stop_reaches_the_holder_of_a_running_search(study: Study) -> None:
    with pytest.raises(BusyStudy, match="is not running; it is new"):
        request_stop(study)
    stopped = threading.Event()
    with pytest.raises(KeyboardInterrupt), holding_lease(study, stopped.set):  # noqa: PT012
        request_stop(study)
        assert stopped.wait(20)
        raise KeyboardInterrupt
    assert confirmed_state(study) == "stopped"


def test_passwords_in_urls_are_not_shown(
    make_search: Callable[..., SearchFile], study: Study
) -> None:
    search = make_search(storage__study="postgresql+psycopg://me:p@ss:word@db:5432/tlc")
    assert "word" not in json.dumps(search.to_public_dict())
    assert search.to_public_dict()["storage"]["study"] == "postgresql+psycopg://me:***@db:5432/tlc"
    for url in ("sqlite:////folder/study.db", "http://host:5000", "s3://bucket/tlc"):
        assert without_password(url) == url


def test_finished_trials_are_read_once_and_running_ones_again(study: Study) -> None:
    first, second = study.ask(), study.ask()
    assert [r.is_finished for r in study.records()] == [False, False]
    study.tell_result(second.number, made_up_result(0.5, 0.1), [])
    before = study.records()
    assert [r.is_finished for r in before] == [False, True]
    study.tell_failure(first.number, "error", "seen")
    after = study.records()
    assert [r.state for r in after] == ["error", "complete"]
    assert after[1] is before[1]


def test_what_is_best_within_any_limits_is_among_the_undominated(study: Study, home: Any) -> None:
    import random

    rng = random.Random(0)
    for _ in range(15):
        size = rng.uniform(0.05, 1.0)
        result = made_up_result(
            rng.random(), size, latency_ms=rng.uniform(0.1, 5), flops=rng.uniform(1e5, 1e7)
        )
        study.tell_result(study.ask().number, result, [])
    answers = StudyQueries(f"sqlite:///{home / 'study.db'}")
    records = study.records()
    for _ in range(60):
        limits = {"size_mb": rng.uniform(0.05, 1.2), "latency_ms": rng.uniform(0.1, 6)}
        within = [r for r in records if all(r.result[c] <= v for c, v in limits.items())]
        found = answers.best("tiny", limits)
        assert found.is_within == bool(within)
        if within and found.trial is not None:
            assert found.trial.result["score"] == max(r.result["score"] for r in within)


def test_links_in_place_of_a_searches_files_are_not_followed(
    make_search: Callable[..., SearchFile], home: Path, tmp_path: Path
) -> None:
    search = make_search(data__unlabelled__train="missing.txt")
    url = f"sqlite:///{home / 'study.db'}"
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for folder in ("logs", "searches"):
        (home / folder).mkdir(parents=True)
    log, file = home / "logs" / "tiny.log", home / "searches" / "tiny.yaml"
    log.symlink_to(victim)
    with pytest.raises(LaunchError, match="cannot be written"):
        LocalProcesses(url).start(search)
    assert study_names(url) == []
    log.unlink()
    file.symlink_to(victim)
    LocalProcesses(url).start(search)
    assert load(str(file)).name == "tiny"
    assert not file.is_symlink()
    assert file.stat().st_mode & 0o077 == 0
    assert victim.read_text() == "mine"
    wait_for("its words", lambda: "no such file: missing.txt" in log.read_text(), 60)
