"""A local server of one repository with those parts of the Hugging Face Hub's API that tests need.

Hugging Face, *Hub API endpoints* (the paths) and *Download files from the Hub* (the headers).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def local_hub(
    dataset: str, files: dict[str, str] | dict[str, bytes], *, kind: str = "datasets"
) -> Iterator[str]:
    """Serve one data set or model; gives the address for ``HF_ENDPOINT``. A repository whose name
    ends with ``-gated`` needs permission that nobody has.

    Args:
        dataset: Its name, as ``owner/name``.
        files: Its files by path.
        kind: ``datasets`` or ``models``.
    """
    held = {path: t.encode() if isinstance(t, str) else t for path, t in files.items()}

    class Handler(_Handler):
        content = held
        name = dataset
        api = f"/api/{kind}/{dataset}/"
        root = f"/{dataset}/resolve/" if kind == "models" else f"/{kind}/{dataset}/resolve/"

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    content: dict[str, bytes]
    name: str
    api: str
    root: str

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        api, files = self.api, self.root
        path = self.path.partition("?")[0]
        if "-gated/" in path:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif not path.startswith((api, files)):
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith(files):
            self._file(path.removeprefix(files).partition("/")[2])
        elif path.startswith(f"{api}tree/"):
            self._json([self._entry(name) for name in self.content])
        elif path.startswith(f"{api}revision/"):
            siblings = [{"rfilename": name} for name in self.content]
            self._json({"id": self.name, "sha": COMMIT, "siblings": siblings})
        else:
            self._nothing()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._json([self._entry(name) for name in asked["paths"] if name in self.content])

    def _entry(self, name: str) -> dict[str, Any]:
        content = self.content[name]
        return {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}

    def _file(self, name: str) -> None:
        if name not in self.content:
            self._nothing()
            return
        content = self.content[name]
        self._send(200, content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _nothing(self) -> None:
        self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
