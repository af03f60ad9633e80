"""The study on a real PostgreSQL, with many writers at once. Skipped where none is installed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from search.results.client import Client
from search.results.queries import StudyQueries
from search.storage.database_retry import retrying
from search.storage.errors import BusyStudy, StudyUnavailable
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from tests.faults.proxy import Proxy
from tests.search.conftest import Tlc, made_up_result

PROCESSES, THREADS, TRIALS_EACH = 2, 6, 4
WRITERS = PROCESSES * THREADS

WRITER = """
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from search.storage.study import Study

url, made_up, process, threads, count = *sys.argv[1:3], *map(int, sys.argv[3:])


def write(thread):
    writer = process * threads + thread
    study = Study.load("tiny", url)
    numbers = []
    for k in range(count):
        record = study.ask()
        result = {**json.loads(made_up), "model": f"models/{writer}-{k}"}
        if k == count - 1:
            assert study.tell_failure(record.number, "error", f"{writer}")
        else:
            assert study.tell_result(record.number, result, [[1, 2.0]])
            assert not study.tell_result(record.number, result)
        numbers.append(record.number)
    return numbers


with ThreadPoolExecutor(threads) as pool:
    for numbers in pool.map(write, range(threads)):
        print(*numbers)
"""


def _programs() -> Path | None:
    found = shutil.which("initdb")
    # Debian keeps the server's programs off PATH, a folder for each version.
    folders = [Path(found).resolve().parent] if found else []
    folders += [Path(path) for path in sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@dataclass(frozen=True)
class Server:
    """A server that is started for these tests, with a fresh database.

    Args:
        url: SQLAlchemy URL of the database.
        control: Runs ``pg_ctl`` with some words.
    """

    url: str
    control: Callable[..., None]


@pytest.fixture(scope="module")
def postgres(server: Server) -> str:
    """SQLAlchemy URL of the database."""
    return server.url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here (Debian: apt install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is missing")
    folder = Path(tmp_path_factory.mktemp("postgres"))
    as_user: list[str] = []
    if os.getuid() == 0:
        # The server refuses to run as root.
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
        for parent in (folder, *folder.parents[:-2]):
            parent.chmod(parent.stat().st_mode | 0o011)
    data = folder / "data"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    def run(program: str, *options: str) -> None:
        subprocess.run(
            [*as_user, str(programs / program), *options],
            check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip

    run("initdb", "-D", str(data), "-U", "tlc", "--auth=trust", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"

    def control(*words: str) -> None:
        log = str(folder / "log")
        run("pg_ctl", "-D", str(data), "-l", log, "-w", "-o", options, "-m", "immediate", *words)

    control("start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "tlc", "studies")
        yield Server(f"postgresql+psycopg://tlc@127.0.0.1:{port}/studies", control)
    finally:
        control("stop")


@pytest.mark.slow
def test_many_writers_lose_and_double_no_trial(
    postgres: str, make_search: Callable[..., SearchFile]
) -> None:
    Study.open(make_search(trials=WRITERS * TRIALS_EACH, sampler="random"), postgres)
    root, made_up = str(Path(__file__).parents[2]), json.dumps(made_up_result(0.5, 0.1))
    writers = [
        subprocess.Popen(
            [
                sys.executable, "-c", WRITER, postgres, made_up,
                *map(str, (process, THREADS, TRIALS_EACH)),
            ],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in range(PROCESSES)
    ]  # fmt: skip
    told = [number for writer in writers for number in writer.communicate(timeout=200)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES
    expected = WRITERS * TRIALS_EACH
    assert Counter(map(int, told)) == Counter(range(expected))
    records = Study.load("tiny", postgres).records()
    assert [record.number for record in records] == list(range(expected))
    models = Counter(record.result["model"] for record in records if record.is_complete)
    assert len(models) == WRITERS * (TRIALS_EACH - 1)
    assert set(models.values()) == {1}
    assert Counter(record.state for record in records)["error"] == WRITERS


def test_answers_and_refusals_are_those_of_sqlite(
    postgres: str, make_search: Callable[..., SearchFile]
) -> None:
    Study.open(make_search(name="other"), postgres)
    with pytest.raises(BusyStudy, match="exists with another seed"):
        Study.open(make_search(name="other", seed=9), postgres)
    assert "other" in [summary.name for summary in StudyQueries(postgres).searches()]


def test_of_fifty_reports_at_once_one_is_recorded(
    postgres: str, make_search: Callable[..., SearchFile]
) -> None:
    number = Study.open(make_search(name="reports"), postgres).ask().number
    together = threading.Barrier(10)

    def report(thread: int) -> list[float]:
        own = Study.load("reports", postgres)
        together.wait()
        scores = [(10 * k + thread) / 100 for k in range(5)]
        return [s for s in scores if own.tell_result(number, made_up_result(s, 1 + s))]

    with ThreadPoolExecutor(10) as pool:
        (score,) = [score for told in pool.map(report, range(10)) for score in told]
    study = Study.load("reports", postgres)
    (record,) = study.records()
    assert record.result == made_up_result(score, 1 + score)
    assert record.order == 1
    assert study.optuna.get_trials()[0].values == [score, 1 + score]


def test_of_many_concurrent_claims_one_succeeds_on_postgres(
    postgres: str, make_search: Callable[..., SearchFile]
) -> None:
    Study.open(make_search(name="places"), postgres)
    together = threading.Barrier(8)

    def claim(thread: int) -> list[bool]:
        own = Study.load("places", postgres)
        together.wait()
        first = own.exchange("key", None, {"run": -1})
        together.wait()
        return [first, own.exchange("key", {"run": -1}, {"run": thread})]

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(claim, range(8)))
    assert [sum(column) for column in zip(*claims, strict=True)] == [1, 1]


def test_calls_are_retried_while_the_server_restarts(
    server: Server, make_search: Callable[..., SearchFile], caplog: pytest.LogCaptureFixture
) -> None:
    study = Study.open(make_search(name="patient"), server.url)
    first = study.ask().number
    server.control("stop")
    with pytest.raises(StudyUnavailable, match="cannot be read"):
        study.tell_result(first, made_up_result(0.5, 0.1))
    back = threading.Timer(2.0, server.control, ["start"])
    back.start()
    with retrying():
        assert study.tell_result(first, made_up_result(0.8, 0.1))
        assert study.ask().number == 1
    back.join()
    assert [record.state for record in study.records()] == ["complete", "running"]
    assert caplog.text.count("the study's database is unavailable") == 1


@pytest.mark.slow
def test_a_lost_reply_to_commit_doubles_and_loses_nothing(
    postgres: str, make_search: Callable[..., SearchFile]
) -> None:
    """The server commits, and the connection ends before its reply."""
    address = make_url(postgres)
    assert address.port is not None
    proxy = Proxy(address.port)
    url = address.set(port=proxy.port).render_as_string(hide_password=False)
    study = Study.open(make_search(name="lost", sampler="random"), url)

    def losing_each(call: Callable[[], Any]) -> list[Any]:
        """Call until each of its transactions has lost the reply to its COMMIT in one call."""
        answers = []
        for after in itertools.count():
            lost = len(proxy.lost)
            proxy.lose_replies("COMMIT", times=1, after=after)
            answers.append(call())
            if len(proxy.lost) == lost:
                assert after > 0
                proxy.lose_replies("COMMIT", times=0)
                return answers
        raise AssertionError

    try:
        with retrying():
            asked = losing_each(study.ask)
            left = [each.number for each in asked]
            told = losing_each(lambda: study.tell_result(left.pop(), made_up_result(0.5, 0.1)))
            told += [study.tell_failure(number, "error", "made up") for number in left]
            enqueue = partial(study.optuna.enqueue_trial, study.optuna.trials[0].params)
            enqueued = losing_each(enqueue)
            enqueued += [enqueue() for _ in range(len(asked) - len(enqueued))]
            resumed = losing_each(study.ask)
            repeats = losing_each(lambda: study.repeat(asked[-1].number, 7))
            values = iter(range(1, 100))
            known = [None]

            def exchange() -> bool:
                known.append(next(values))
                return study.exchange("key", known[-2], known[-1])

            assert all(told + losing_each(exchange))
    finally:
        proxy.close()
    seen = Study.load("lost", postgres)
    records, repeated = seen.records_and_repeats()
    assert [each.number for each in records] == [each.number for each in (*asked, *resumed)]
    assert sorted(each.order for each in records if each.is_finished) == [*range(1, len(asked) + 1)]
    assert [each.number for each in repeated] == [each.number for each in repeats]
    waiting = len(enqueued) - len(resumed)
    assert len(seen.optuna.trials) == len(records) + len(repeats) + waiting
    assert len(seen.waiting()) == waiting


@pytest.mark.slow
def test_40_studies_are_listed_through_few_connections(
    postgres: str, make_search: Callable[..., SearchFile], tlc: Tlc
) -> None:
    opened = [Study.open(make_search(name=f"of-many-{k}"), postgres) for k in range(40)]
    most = 0
    done = threading.Event()

    def count() -> None:
        nonlocal most
        engine = create_engine(postgres)
        query = text("select count(*) from pg_stat_activity where datname = current_database()")
        with engine.connect() as connection:
            while not done.wait(0.02):
                most = max(most, connection.execute(query).scalar_one())
                connection.rollback()
        engine.dispose()

    counting = threading.Thread(target=count)
    counting.start()
    try:
        listed = tlc("list", "--study", postgres, "--json")
        with tlc.serving("--study", postgres) as (url, _), ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: Client(url).searches(), range(8)))
    finally:
        done.set()
        counting.join()
    expected = {study.search.name for study in opened}
    assert expected <= {search["name"] for search in json.loads(listed.stdout)}
    for answer in answers:
        assert expected <= {search.name for search in answer}
    # All of this test's processes and its own counting.
    assert 1 < most < 20
