"""Requests of a hostile client, each of which must be refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from spaces.loading import load

HUNG_UP = 0
"""Instead of a status: the service closed the connection without a response."""
JSON = {"Content-Type": "application/json"}
STEAL = "!!python/object/apply:os.system ['touch stolen']"


@dataclass(frozen=True)
class HostileRequest:
    """One request.

    Args:
        name: The defect of the request.
        allowed: Statuses of a refusal.
        method: HTTP method.
        path: Path and query.
        headers: Headers beyond those that every request needs.
        body: Body.
    """

    name: str
    allowed: tuple[int, ...]
    method: str = "GET"
    path: str = "/searches"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def request(self, host: str) -> bytes:
        """The bytes of the request."""
        headers = {"Host": host, "Connection": "close", **self.headers}
        if self.body is not None:
            headers = {"Content-Length": str(len(self.body)), **headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body or b"")


def hostile_requests(root: str) -> Iterator[HostileRequest]:
    """All hostile requests.

    Args:
        root: The data folder of the service; ``link.txt`` in it links to a file outside.
    """
    yield from _bodies()
    yield from _searches(root)
    yield from _overrides()
    yield from _questions()
    yield from _heads()


def _post(
    name: str, body: Any, *allowed: int, path: str = "/searches", **headers: str
) -> HostileRequest:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HostileRequest(name, allowed or (422,), "POST", path, {**JSON, **headers}, content)


def _whole(**fields: Any) -> dict[str, Any]:
    return {**load("classification").model_dump(mode="json", exclude_defaults=True), **fields}


def _bodies() -> Iterator[HostileRequest]:
    zipped = gzip.compress(b'{"search": "' + b"x" * 50_000_000 + b'"}')
    what_if = "/searches/tiny/what-if"
    yield _post("10 MB", b'{"search": "' + b"x" * 10_000_000 + b'"}', 413)
    yield _post("a gzip bomb", zipped, 400, **{"Content-Encoding": "gzip"})
    yield _post("no JSON", b"\x00\xff", 400, 422)
    yield _post("YAML for JSON", f"search: {STEAL}".encode(), 400, 422)
    yield _post("arrays too deep", b'{"search": ' + b"[" * 40_000, 400)
    yield _post("objects too deep", b'{"search": ' + b'{"a":' * 900 + b"1" + b"}" * 901, 400, 422)
    yield _post("a number of 50,000 digits", b'{"search": {"trials": ' + b"9" * 50_000 + b"}}", 400)
    yield _post("5,000 unknown keys", {"search": {f"key{k}": 1 for k in range(5000)}})
    yield _post("an unknown field", {"search": "default", "shell": "touch stolen"})
    yield _post("half a character", b'{"search": {"name": "\\ud800", "\\udfff": 1}}')
    yield _post("NaN to predict", {"values": {"depth": float("nan")}}, path=what_if)
    yield _post("infinity to predict", b'{"values": {"depth": 1e999}}', 400, 422, path=what_if)
    yield _post("5,000 dimensions", {"values": {f"k{k}": 1 for k in range(5000)}}, path=what_if)
    yield _post("half a character to predict", b'{"values": {"\\ud800": 1}}', path=what_if)


def _searches(root: str) -> Iterator[HostileRequest]:
    yield _post("10^9 trials", {"search": _whole(trials=10**9)})
    yield _post("NaN", {"search": _whole(hours=float("nan"))})
    yield _post("infinity", {"search": _whole(hours=float("inf"))})
    for name in (
        "../stolen",
        "a/b",
        "a'; DROP TABLE studies; --",
        "a\n",
        "a\0",
        "\u202eeman",
        "ａ",
    ):
        yield _post(f"name {name!r}", {"search": _whole(name=name)})
    for key, value in (
        ("storage", {"store": "file:///tmp/stolen"}), ("storage", {"study": "sqlite:///stolen"}),
        ("address", "127.0.0.1:6379"),
    ):  # fmt: skip
        yield _post(f"{key} {value}", {"search": _whole(**{key: value})})
    space = _whole()["space"]
    for name, value in (
        ("10^12 depths", {"low": 1, "high": 10**12}), ("10^12 widths", {"choices": [10**12]}),
    ):  # fmt: skip
        dimension = name.split()[1].removesuffix("s")
        yield _post(name, {"search": _whole(space={**space, dimension: value})})
    for path in (
        "/etc/passwd", f"{root}/../secret.txt", f"{root}/link.txt", f"file://{root}/text.txt",
        "http://127.0.0.1/x", f"zip://x::{root}/text.txt", f"{root}/\0",
    ):  # fmt: skip
        source = {"source": "files", "train": path, "format": "text"}
        override = f"data.unlabelled={json.dumps(source)}"
        yield _post(f"data {path!r}", {"search": "masked_lm", "overrides": [override]})


def _overrides() -> Iterator[HostileRequest]:
    bomb = "{a: &a [x, x], b: &b [*a, *a], c: [*b, *b]}"
    for text in (
        f"name={STEAL}", f"space={bomb}", "space={[a]: 1}", "space=&a [*a]", "trials=2020-99-99",
        "trials=0x" + "f" * 900, "trials=" + ":".join(["59"] * 300), "." * 900 + "=1",
        "space=" + "[" * 900, "name=../stolen", "name=!!binary eA==",
    ):  # fmt: skip
        yield _post(f"override {text[:40]}", {"search": "default", "overrides": [text]})
    lists = ["x=[" + ",".join(["1"] * 490) + "]"] * 90
    yield _post("90 kB of overrides", {"search": "default", "overrides": lists})
    yield _post("a path for a name", {"search": "../../etc/passwd"})


def _questions() -> Iterator[HostileRequest]:
    queries = (
        "offset=-1", "offset=99999999999999999999", f"offset={'9' * 5000}", "limit=0",
        "limit=1001", "limit=1e3", "max_size_mb=Infinity", "max_size_mb=NaN", "max_size_mb=1e400",
        "max_size_mb=-1", f"state={'x' * 50_000}", "order=score;DROP", "offset=%EF%BC%91",
    )  # fmt: skip
    for query in queries:
        yield HostileRequest(f"?{query[:40]}", (422,), path=f"/searches/tiny/trials?{query}")
    names = (
        "a'%20OR%201=1--", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "%ff", "tiny%0d%0aX:%20y",
        "%EF%BD%94iny", "ti%E2%80%AEny", "x" * 50_000,
    )  # fmt: skip
    for name in names:
        yield HostileRequest(f"GET {name[:40]}", (404, 422), path=f"/searches/{name}")
        yield HostileRequest(f"stop {name[:40]}", (404, 422), "POST", f"/searches/{name}/stop")
    yield HostileRequest("a trial below 0", (422,), path="/searches/tiny/trials/-1")
    yield HostileRequest("a trial past 64 bits", (422,), path=f"/searches/tiny/trials/{'9' * 30}")
    last = {"Last-Event-ID": "9" * 400}
    yield HostileRequest(
        "an event past 64 bits", (422,), path="/searches/tiny/events", headers=last
    )
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "STEAL"):
        yield HostileRequest(f"method {method}", (405,), method)
    override = {"X-HTTP-Method-Override": "DELETE"}
    yield HostileRequest("another method", (405,), "POST", "/searches/tiny", headers=override)


def _heads() -> Iterator[HostileRequest]:
    length = "Content-Length"
    for host in ("evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1", ""):
        yield HostileRequest(f"host {host!r}", (403,), headers={"Host": host})
    for origin in ("http://evil.example", "null"):
        stop = "/searches/tiny/stop"
        yield HostileRequest(f"origin {origin}", (403,), "POST", stop, headers={"Origin": origin})
    yield HostileRequest("a head of 1 MB", (400, 431, HUNG_UP), headers={"X-Long": "x" * 1_000_000})
    many = {f"X-{number}": "x" for number in range(20_000)}
    yield HostileRequest("20,000 headers", (400, 431, HUNG_UP), headers=many)
    for value in ("-1", "1e9", "9" * 400, "5, 6", "x"):
        yield _post(f"length {value[:10]}", b"{}", 400, 413, HUNG_UP, **{length: value})
    smuggled = {"Transfer-Encoding": "chunked", length: "2"}
    yield _post("two lengths", b"0\r\n\r\n", 400, 422, HUNG_UP, **smuggled)
    chunks = {"Transfer-Encoding": "chunked"}
    yield HostileRequest(
        "a chunk of 2^112", (400, 413, HUNG_UP), "POST", headers=chunks, body=b"f" * 28 + b"\r\n"
    )
