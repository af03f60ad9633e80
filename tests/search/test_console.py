"""What others wrote reaches the terminal as text, and commands nothing."""

from __future__ import annotations

import io
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner
from rich.table import Table

from search.cli.main import cli
from search.cli.printing.console import PlainConsole
from search.results.client import Client, ServiceError
from search.storage.study import Study
from search.terminal_safe import printable

ATTACK = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil [bold]no[/bold] [/] [link=http://x]y :smile:"


def test_untrusted_text_is_printed_literally() -> None:
    output = io.StringIO()
    console = PlainConsole(file=output, force_terminal=True, width=200)
    table = Table()
    table.add_column("message")
    table.add_row(ATTACK)
    console.print(table)
    console.print(ATTACK, style="red", highlight=False)
    written = output.getvalue()
    for command in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert command not in written
    assert written.count("[bold]no[/bold] [/] [link=http://x]y :smile:") == 2
    # rich's own control codes remain.
    assert "\x1b[31m" in written


def test_printable_keeps_ordinary_text() -> None:
    assert printable("Größe\t1\nナ 🙂") == "Größe\t1\nナ 🙂"


def test_control_characters_in_a_failure_message_are_replaced(study: Study, home: Path) -> None:
    study.tell_failure(study.ask().number, "error", f"ValueError: {ATTACK}", f"in {ATTACK}")
    for words in ("show tiny", "show tiny 0", "trials tiny"):
        shown = CliRunner().invoke(
            cli, [*words.split(), "--study", f"sqlite:///{home / 'study.db'}"]
        )
        assert shown.exit_code == 0, shown.output
        assert "\x1b" not in shown.output


def test_show_prints_the_traceback_of_a_failed_trial(study: Study, home: Path) -> None:
    number = study.ask().number
    traceback = 'Traceback (most recent call last):\n  File "rtn.py", line 3\nValueError: no scale'
    study.tell_failure(number, "compression_error", "rtn-4: ValueError: no scale", traceback)
    where = ["--study", f"sqlite:///{home / 'study.db'}"]
    shown = CliRunner().invoke(cli, ["show", "tiny", str(number), *where]).output
    assert 'File "rtn.py", line 3' in shown
    found = CliRunner().invoke(cli, ["show", "tiny", str(number), "--json", *where]).output
    assert json.loads(found)["traceback"] == traceback
    assert "rtn.py" not in CliRunner().invoke(cli, ["trials", "tiny", *where]).output


@pytest.mark.parametrize(
    "content", [b"<html>", b"[1, 2]", b'{"a": 1}', b"null", b"[" * 100_000, b"\xff"]
)
def test_a_server_that_is_not_tlc_is_reported(content: bytes) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}")
        for ask in (client.searches, lambda: client.search("x"), lambda: client.frontier("x")):
            with pytest.raises(ServiceError, match="is not a tlc service"):
                ask()
        server.shutdown()
