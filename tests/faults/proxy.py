"""A TCP proxy in front of a server that can disconnect and lose replies."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Forwards connections to a loopback port.

    Args:
        target: The port of the server.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_away = False
        self._lose: dict[bytes, int] = {}
        self._pass: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.lost: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """The port of the proxy."""
        found: int = self._listener.getsockname()[1]
        return found

    def leave(self) -> None:
        """Close all connections, and refuse new ones."""
        with self._lock:
            self._is_away = True
            for each in self._open:
                _close(each)
            self._open.clear()

    def come_back(self) -> None:
        """Forward connections again."""
        self._is_away = False

    def lose_replies(self, words: str, times: int, *, after: int = 0) -> None:
        """Forward the next requests that contain some words, and drop the replies.

        Args:
            after: Such requests whose replies are passed on before.
        """
        self._lose[words.encode()] = times
        self._pass[words.encode()] = after

    def close(self) -> None:
        """Stop the proxy."""
        self.leave()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_away:
                _close(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._lock:
                self._open += [client, server]
            losing = threading.Event()
            for source, sink, is_request in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pass_on, args=(source, sink, is_request, losing), daemon=True
                ).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, is_request: bool, losing: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if is_request:
                    self._look(chunk, losing)
                elif losing.is_set():
                    break
                sink.sendall(chunk)
        _close(source)
        _close(sink)

    def _look(self, chunk: bytes, losing: threading.Event) -> None:
        for words, left in self._lose.items():
            if not left or words not in chunk:
                continue
            if self._pass[words]:
                self._pass[words] -= 1
            else:
                self._lose[words] -= 1
                self.lost.append(words.decode())
                losing.set()


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
