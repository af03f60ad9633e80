"""The study on a real PostgreSQL, with many writers at once. Skipped where none is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path

import pytest

from search.answers import Answers
from search.study import Study
from search.study_errors import BusyStudy
from spaces.search_file import SearchFile

PROCESSES, THREADS, TRIALS_EACH = 4, 4, 6
WRITERS = PROCESSES * THREADS

WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor

from search.study import Study
from tests.search.conftest import made_up_result

url, process, threads, count = sys.argv[1], *map(int, sys.argv[2:])


def write(thread):
    writer = process * threads + thread
    study = Study.load("tiny", url)
    numbers = []
    for k in range(count):
        record = study.ask()
        result = made_up_result(0.5, 0.1 + 0.01 * writer, model=f"models/{writer}-{k}")
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


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SQLAlchemy URL of a fresh database on a server that is started for these tests."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here (Debian: apt install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'tlc-search[postgres]'")
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
    run("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-w", "-o", options, "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "tlc", "studies")
        yield f"postgresql+psycopg://tlc@127.0.0.1:{port}/studies"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def test_many_writers_lose_and_double_no_trial(
    postgres: str, make_search: Callable[..., SearchFile]
) -> None:
    Study.open(make_search(trials=WRITERS * TRIALS_EACH, sampler="random"), postgres)
    root = str(Path(__file__).parents[2])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, postgres, *map(str, (process, THREADS, TRIALS_EACH))],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in range(PROCESSES)
    ]
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
    assert "other" in [summary.name for summary in Answers(postgres).searches()]
