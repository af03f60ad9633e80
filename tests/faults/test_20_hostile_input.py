"""Fault 20: hostile input to the service, to the command line, and in files that are loaded."""

from __future__ import annotations

import hashlib
import pickle
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from objectives.compression import model_file
from objectives.compression.model_file import ModelFileError
from objectives.data.errors import DataError
from objectives.data.prepared_data import PreparedData
from search.service.middleware import BODY_SECONDS
from search.service.server import HEADER_SECONDS
from search.storage.study import Study
from spaces.loading import load
from tests.faults.hostile_requests import HUNG_UP, STEAL, HostileRequest, hostile_requests
from tests.search.conftest import Tlc, made_up_result

REFUSAL_SECONDS = 0.2
TRIES = 3
"""The fastest of them counts, so that a busy machine does not matter."""
GROWTH_BYTES = 100e6
TOKEN = "a-secret-of-32-characters-00000000"


@dataclass(frozen=True)
class Service:
    """A ``tlc serve`` process."""

    port: int
    process: psutil.Process

    def exchange(self, request: bytes) -> tuple[int, float]:
        """Send bytes; returns the status of the response, or HUNG_UP, and its seconds."""
        started = time.perf_counter()
        status = HUNG_UP
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            # The service may respond, or close the connection, before all bytes are sent.
            with suppress(OSError):
                connection.sendall(request)
            with suppress(ConnectionResetError):
                found = re.match(rb"HTTP/1.1 (\d+)", connection.recv(4096))
                status = int(found[1]) if found else HUNG_UP
        return status, time.perf_counter() - started

    def refusal(self, attack: HostileRequest) -> tuple[int, float]:
        """Status and seconds of a hostile request, the fastest of a few tries."""
        host = f"127.0.0.1:{self.port}"
        return min((self.exchange(attack.request(host)) for _ in range(TRIES)), key=lambda r: r[1])

    def is_healthy(self) -> bool:
        """Whether it responds to a health check and to a query."""
        return all(
            self.refusal(HostileRequest("", (200,), path=path))[0] == 200
            for path in ("/health", "/searches/tiny/best?max_size_mb=10")
        )


@contextmanager
def serving(tlc: Tlc, *options: str, **extra: str) -> Iterator[Service]:
    """A service as users start it."""
    with tlc.serving(*options, **{"TLC_TOKEN": "", **extra}) as (url, pid):
        found = re.match(r"http://127.0.0.1:(\d+)", url)
        assert found is not None
        yield Service(int(found[1]), psutil.Process(pid))


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, and the target of every link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def tlc(tmp_path_factory: pytest.TempPathFactory) -> Tlc:
    """A home with a study, in a folder whose siblings must not change."""
    around = tmp_path_factory.mktemp("around")
    root = around / "root"
    (root / "home").mkdir(parents=True)
    (around / "secret.txt").write_text("secret")
    (root / "text.txt").write_text("text")
    (root / "link.txt").symlink_to(around / "secret.txt")
    search = load("classification", ["name=tiny", "trials=20"])
    study = Study.open(search, f"sqlite:///{root / 'home' / 'study.db'}")
    for size in (0.1, 0.2):
        study.tell_result(study.ask().number, made_up_result(0.5 + size, size))
    study.tell_failure(study.ask().number, "error", "\x1b]0;title\x07 [/] \x1b[2J")
    # The search has not run yet, so that event streams do not end.
    return Tlc(root)


@pytest.fixture(scope="module")
def service(tlc: Tlc) -> Iterator[Service]:
    """A service that must be healthy after all requests, without growth or written files."""
    before = contents(tlc.folder.parent)
    with serving(tlc, "--data-root", str(tlc.folder)) as started:
        assert started.is_healthy()
        size = started.process.memory_info().rss
        yield started
        assert started.is_healthy()
        grown = started.process.memory_info().rss - size
        print(f"\nthe service grew by {grown / 1e6:.0f} MB")
        assert grown < GROWTH_BYTES
    assert contents(tlc.folder.parent) == before


def test_every_hostile_request_is_refused_at_once(
    service: Service, tlc: Tlc, record_property: Any
) -> None:
    seconds, wrong = {}, []
    for attack in hostile_requests(str(tlc.folder)):
        status, seconds[attack.name] = service.refusal(attack)
        print(f"{status:>4} {1e3 * seconds[attack.name]:7.1f} ms  {attack.name}")
        if status not in attack.allowed or seconds[attack.name] > REFUSAL_SECONDS:
            wrong.append((attack.name, status, seconds[attack.name]))
    record_property("refusals", len(seconds))
    record_property("slowest_refusal_ms", 1e3 * max(seconds.values()))
    assert not wrong
    assert service.is_healthy()


def test_idle_connections_do_not_block_others(service: Service) -> None:
    head = f"HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n".encode()
    json_head = b"Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    kinds = {
        "half a head": b"GET / HTT",
        "half a body": b"POST /searches " + head + json_head,
        "a stream": b"GET /searches/tiny/events " + head + b"\r\n",
    }
    open_ones = {kind: [_opened(service, text) for _ in range(200)] for kind, text in kinds.items()}
    slowest = 0.0
    until = time.monotonic() + max(HEADER_SECONDS, BODY_SECONDS) + 2
    while time.monotonic() < until:
        # A byte now and then must not extend the time limit.
        for kind in ("half a head", "half a body"):
            for connection in open_ones[kind]:
                _drip(connection)
        status, seconds = service.refusal(HostileRequest("", (200,), path="/health"))
        assert status == 200
        slowest = max(slowest, seconds)
        time.sleep(0.5)
    left = {kind: sum(map(_is_open, each)) for kind, each in open_ones.items()}
    print(f"\nslowest answer {1e3 * slowest:.0f} ms; left open: {left}")
    assert left == {"half a head": 0, "half a body": 0, "a stream": 200}
    assert slowest < REFUSAL_SECONDS
    for connection in (each for kind in open_ones.values() for each in kind):
        connection.close()


def _opened(service: Service, text: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=20)
    connection.sendall(text)
    connection.setblocking(False)
    return connection


def _drip(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.send(b"x")


def _is_open(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def test_requests_without_the_token_or_above_the_rate_get_no_information(tlc: Tlc) -> None:
    limit = 150
    with serving(tlc, "--requests-per-minute", str(limit), TLC_TOKEN=TOKEN) as service:
        right = {"Authorization": f"Bearer {TOKEN}"}
        tokens = ("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"bearer {TOKEN} ", "Bearer \xff")
        for token in tokens:
            given = {"Authorization": token} if token else {}
            for path in ("/searches", "/searches/tiny/best", "/openapi.json", "/metrics"):
                status, seconds = service.refusal(
                    HostileRequest("", (401,), path=path, headers=given)
                )
                assert (status, path) == (401, path)
                assert seconds < REFUSAL_SECONDS
        assert service.exchange(_requesting(service, right))[0] == 200
        # Another forwarded address does not make another client.
        flood = [
            service.exchange(_requesting(service, {**right, "X-Forwarded-For": f"10.0.0.{k}"}))
            for k in range(2 * limit)
        ]
        assert {status for status, _ in flood[limit:]} == {429}
        assert min(seconds for _, seconds in flood[limit:]) < REFUSAL_SECONDS
        assert (
            service.exchange(HostileRequest("", (200,), path="/health").request("localhost"))[0]
            == 200
        )


def _requesting(service: Service, headers: dict[str, str]) -> bytes:
    return HostileRequest("", (), headers=headers).request(f"127.0.0.1:{service.port}")


def test_listening_beyond_loopback_needs_a_token(tlc: Tlc) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        run = tlc("serve", "--host", host, "--port", "0", TLC_TOKEN="")
        assert run.returncode == 2
        assert "requires a token" in run.stderr


FILES = {
    "code": f"name: {STEAL}".encode(),
    "references": "\n".join(
        ["a: &a [x, x]", *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}' if k else '*a'] * 9)}]"
         for k in range(12)), "name: *a11", "space: {depth: *a11}"]
    ).encode(),
    "a key that is a list": b"? [a]\n: 1",
    "a number without end": b"name: x\ntrials: 0x" + b"f" * 90_000,
    "too deep": b"name: " + b"[" * 90_000,
    "10 MB": b"# x\n" * 2_500_000,
    "a pickle": pickle.dumps({"name": "x"}),
    "commands": b'name: "\\e]0;title\\a"\n"\\e[2J": 1',
    "unknown keys": b"".join(b"k%d: 1\n" % k for k in range(8000)),
}  # fmt: skip


def test_the_command_line_refuses_hostile_files(tlc: Tlc, tmp_path: Path) -> None:
    before = contents(tlc.folder.parent)
    words = {
        "no end": ("plan", "/dev/zero"),
        "10^9": ("run", "default", "--set", f"trials={10**9}"),
    }
    for name, content in FILES.items():
        (tmp_path / f"{name}.yaml").write_bytes(content)
        words[name] = ("run", str(tmp_path / f"{name}.yaml"))
    for name in ("../x", "a'; DROP TABLE studies; --", "\x1b[2J"):
        words[f"search {name!r}"] = ("best", name)
    with ThreadPoolExecutor(2) as pool:
        runs = dict(
            zip(words, pool.map(lambda each: _timed(tlc, each), words.values()), strict=True)
        )
    for name, (run, seconds) in runs.items():
        print(f"{run.returncode} {seconds:5.1f} s  {name}")
        assert (run.returncode, name) == (2, name), run.stderr[-2000:]
        assert "Traceback" not in run.stderr, name
        assert "\x1b" not in run.stderr, name
        assert len(run.stderr) < 10_000, name
        assert seconds < 10, name
    shown = tlc("show", "tiny")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert contents(tlc.folder.parent) == before


def _timed(tlc: Tlc, words: tuple[str, ...]) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.monotonic()
    return tlc(*words), time.monotonic() - started


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    stolen = tmp_path / "stolen"
    thief = pickle.dumps(Payload(stolen))
    pickle.loads(thief)
    assert stolen.exists()
    stolen.unlink()
    (tmp_path / "config.json").write_bytes(thief)
    with pytest.raises(ModelFileError):
        model_file.load(tmp_path)
    np.save(tmp_path / "unlabelled-train.npy", np.array([Payload(stolen)]), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        PreparedData(tmp_path, "", (), {}, {}).token_stream("train")
    assert not stolen.exists()
