"""The REST service, asked over HTTP as others ask it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import optuna
import pytest
import requests
import uvicorn
from click.testing import CliRunner
from fastapi.testclient import TestClient

from search.cli.main import cli
from search.results.client import Client, ServiceError
from search.results.prediction import PredictionError
from search.results.queries import StudyQueries
from search.results.schemas import Event
from search.service.app import create_app
from search.service.settings import Settings
from search.storage.errors import NoSuchStudy
from search.storage.lease_holder import holding_lease
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.file.storage import Storage
from tests.own_package import own_document
from tests.search.conftest import Tlc, made_up_result
from tests.waiting import is_served, wait_for

TOKEN = "a-secret-of-32-characters-00000000"
READ_TOKEN = "another-secret-that-only-reads-000"


@pytest.fixture(scope="module")
def service(finished: Tlc) -> Iterator[str]:
    with finished.ready("--data-root", str(finished.folder), TLC_TOKEN="") as url:
        yield url


@pytest.fixture(scope="module")
def answers(finished: Tlc) -> StudyQueries:
    return StudyQueries(finished.study_url)


def problem_of(response: requests.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["detail"]
    return problem


def test_client_and_study_give_equal_results(service: str, answers: StudyQueries) -> None:
    client = Client(service)
    assert [s.name for s in client.searches()] == ["tiny"]
    assert client.search("tiny") == answers.search("tiny")
    assert client.frontier("tiny") == answers.frontier("tiny")
    assert client.levels("tiny") == answers.levels("tiny")
    limit = answers.frontier("tiny").members[0].size_mb * 1.001
    # The location depends on the home of the process.
    best = client.best("tiny", max_size_mb=limit)
    expected = answers.best("tiny", {"size_mb": limit})
    assert best.model_copy(update={"location": ""}) == expected.model_copy(update={"location": ""})
    assert (Path(best.location) / "model.safetensors").is_file()
    page = client.trials("tiny", state="complete", order="size_mb", offset=2, limit=3)
    assert page == answers.trials("tiny", state="complete", order="size_mb", offset=2, limit=3)
    sizes = [trial.result["size_mb"] for trial in page.trials]
    assert sizes == sorted(sizes)
    assert page.total == 8
    number = page.trials[0].trial
    assert client.trial("tiny", number) == answers.trial("tiny", number)


@pytest.mark.parametrize(
    "command", ["list", "show tiny", "trials tiny", "frontier tiny", "best tiny", "levels tiny"]
)
def test_command_line_output_is_equal_with_and_without_a_server(
    command: str, service: str, finished: Tlc
) -> None:
    environment = {"TLC_HOME": str(finished.folder / "home"), "TLC_TOKEN": None}
    for more in ([], ["--json"]):
        words = [*command.split(), *more]
        here = CliRunner().invoke(cli, words, env=environment)
        there = CliRunner().invoke(cli, [*words, "--server", service], env={"TLC_TOKEN": None})
        assert here.exit_code == there.exit_code == 0, there.output
        assert here.stdout == there.stdout
        assert "tiny" in here.stdout or "accuracy" in here.stdout


def test_an_unknown_limit_of_the_client_is_refused(service: str) -> None:
    client = Client(service)
    for ask in (client.best, client.trials):
        with pytest.raises(TypeError, match=r"size_mb: is no limit; allowed: max_size_mb, max_lat"):
            ask("tiny", size_mb=0.2)


def test_every_operation_refuses_unknown_parameters_and_bodies(service: str) -> None:
    """The operations, their parameters and bodies are those of the OpenAPI description."""

    def fault_of(method: str, path: str, body: Any) -> tuple[str, str]:
        answer = requests.request(method, f"{service}{path}", json=body, timeout=30)
        (fault,) = problem_of(answer, 422)["errors"]
        return fault["field"], fault["detail"]

    paths = requests.get(f"{service}/openapi.json", timeout=30).json()["paths"]
    for template, operations in paths.items():
        path = template.format(name="tiny", number=0)
        # Without the unknown input it would be refused too, and starts nothing.
        bodies = {"/searches": {"search": "nothing"}, "/searches/tiny/rename": {"name": "other"}}
        needed: dict[str, Any] = bodies.get(path, {"values": {}})
        for method, operation in operations.items():
            known = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            body = needed if "requestBody" in operation else None
            field, detail = fault_of(method, f"{path}?max_size=1", body)
            assert field == "max_size"
            assert all(name in detail for name in known)
            for name in known:
                assert fault_of(method, f"{path}?{name}=1&{name}=2", body) == (
                    name, "is given 2 times; give it once",
                )  # fmt: skip
            field, _ = fault_of(method, path, {**(body or {}), "shell": 1})
            assert field == ("body" if body is None else "shell")


def test_a_prediction_interval_holds_the_score(service: str, answers: StudyQueries) -> None:
    client = Client(service)
    known = answers.best("tiny").trial
    assert known is not None
    architecture = known.configuration["architecture"]
    compression = known.configuration["compression"]
    values = {
        "depth": architecture["depth"],
        "width": architecture["width"],
        "budget": known.configuration["budget"],
        "quantisation": compression["quantisation"],
        "sparsity": compression["sparsity"],
    }
    prediction = client.what_if("tiny", values)
    assert prediction.score_low <= known.result["score"] <= prediction.score_high
    assert prediction.trial == known.trial
    assert prediction.size_mb == pytest.approx(known.result["size_mb"], rel=0.01)
    # Intervals of evaluated configurations are narrower than those of others.
    tried = {trial.text for trial in answers.trials("tiny").trials}
    widths = [
        guess.score_high - guess.score_low
        for guess in (
            client.what_if("tiny", {**values, "depth": depth, "width": width})
            for depth in (1, 2)
            for width in (32, 64)
        )
        if guess.text not in tried
    ]
    assert all(prediction.score_high - prediction.score_low < width for width in widths)


def test_a_wrong_dimension_of_a_prediction_is_named(service: str, answers: StudyQueries) -> None:
    with pytest.raises(ServiceError, match=r"depth: 7.0 is not in this search; allowed: 1, 2"):
        Client(service).what_if("tiny", {"depth": 7})
    with pytest.raises(PredictionError, match="height: is not a dimension"):
        answers.what_if("tiny", {"height": 1})


def test_the_event_stream_has_every_trial_once_and_ends(service: str) -> None:
    events = list(Client(service).events("tiny"))
    trials = [event.trial for event in events if event.kind == "trial"]
    assert sorted(t for t in trials if t is not None) == list(range(8))
    assert events[-1].kind == "state"
    assert events[-1].state == "finished"
    later = requests.get(
        f"{service}/searches/tiny/events", headers={"Last-Event-ID": "6"}, timeout=10
    )
    assert later.text.count("event: trial") == 2


REFUSED = {
    "not a search": ({"search": {"name": "x"}}, "task", "is missing"),
    "unknown key": ({"search": "default", "overrides": ["trails=3"]}, "trails", "known key"),
    "a path for a name": ({"search": "/etc/passwd"}, "search", "is not a ready-made search"),
    "a name with a path": (
        {"search": "default", "overrides": ["name=../x"]}, "name", "should match pattern",
    ),
    "a store of its own": (
        {"search": "default", "overrides": ["storage.store=/tmp/x"]}, "storage", "set by",
    ),
    "a cluster of its own": (
        {"search": "default", "overrides": ["address=1.2.3.4:6379"]}, "address", "set by",
    ),
    "data elsewhere": (
        {"search": "masked_lm", "overrides": [
            "data.unlabelled={source: files, train: /etc/passwd, format: text}"]},
        "data.unlabelled.train", "--data-root",
    ),
    "data by a way out": (
        {"search": "masked_lm", "overrides": [
            "data.unlabelled={source: files, train: ROOT/../../etc/passwd, format: text}"]},
        "data.unlabelled.train", "--data-root",
    ),
    "data by a pattern that matches a link": (
        {"search": "masked_lm", "overrides": [
            "data.unlabelled={source: files, train: 'ROOT/outsid*/passwd', format: text}"]},
        "data.unlabelled.train", "--data-root",
    ),
    "data from a URL": (
        {"search": "masked_lm", "overrides": [
            "data.unlabelled={source: files, train: 'http://127.0.0.1/x', format: text}"]},
        "data.unlabelled.train", "--data-root",
    ),
    "a local folder for a Hub name": (
        {"search": "masked_lm", "overrides": ["data.unlabelled={source: hub, dataset: ../../etc}"]},
        "data.unlabelled.dataset", "should match pattern",
    ),
    "the files of the current folder for a Hub name": (
        {"search": "causal_lm", "overrides": ["data.unlabelled={source: hub, dataset: text}"]},
        "data.unlabelled.dataset", "reads files of this machine",
    ),
    "images of the current folder for a Hub name": (
        {"search": "images", "overrides": ["data.images={source: hub, dataset: imagefolder}"]},
        "data.images.dataset", "reads files of this machine",
    ),
    "a task of one's own, whose code would run": (
        {"search": own_document("anything")},
        "task.name", "anything.tasks:FirstSymbol is not allowed by the service (--task)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_forbidden_fields_of_a_submission_are_refused_by_name(
    name: str, service: str, finished: Tlc
) -> None:
    body, field, detail = REFUSED[name]
    if not (finished.folder / "outside").exists():
        (finished.folder / "outside").symlink_to("/etc")
    text = json.dumps(body).replace("ROOT", str(finished.folder))
    response = requests.post(
        f"{service}/searches", data=text, headers={"Content-Type": "application/json"}, timeout=30
    )
    errors = problem_of(response, 422)["errors"]
    found = [error for error in errors if error["field"] == field]
    assert found, errors
    assert detail in found[0]["detail"]


@dataclass
class Started:
    """A launcher that remembers what it should start."""

    searches: list[SearchFile] = field(default_factory=list)

    def start(self, search: SearchFile) -> str:
        self.searches.append(search)
        return "process 1"

    def can_start(self) -> bool:
        return True

    def check(self, search: SearchFile) -> None:
        pass

    def stop(self, name: str) -> None:
        raise NotImplementedError

    def status(self, name: str) -> str:
        return "running"

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        raise NotImplementedError


def test_a_task_of_ones_own_is_started_where_the_operator_lists_it(tlc: Tlc) -> None:
    started = Started()
    storage = Storage(study=tlc.study_url)
    settings = Settings(storage, started, tasks=("mine.tasks:FirstSymbol",))
    app = create_app(settings)
    with TestClient(app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as client:
        answer = client.post("/searches", json={"search": own_document("mine")})
        assert answer.status_code == 202, answer.text
        wait_for("its start", lambda: started.searches, 20)
        assert [each.task.name for each in started.searches] == ["mine.tasks:FirstSymbol"]
        assert client.post("/searches", json={"search": own_document("other")}).status_code == 422
    assert len(started.searches) == 1


@contextmanager
def silent_dashboard() -> Iterator[str]:
    """The URL of a dashboard that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_submits_are_answered_at_once_and_survive_the_service(
    tlc: Tlc, make_search: Callable[..., SearchFile], empty_database: Path
) -> None:
    """Forty submits to a cluster that does not answer, and a service that is killed meanwhile."""
    (tlc.folder / "home").mkdir()
    shutil.copy(empty_database, tlc.folder / "home" / "study.db")
    study = Study.open(search := make_search(), tlc.study_url)
    study.tell_result(study.ask().number, made_up_result(0.5, 0.1), [])
    document = search.model_dump(mode="json", exclude_unset=True)
    where = [
        "--study", tlc.study_url, "--store", str(tlc.folder / "store"),
        "--mlflow", "http://127.0.0.1:9",
        "--data-root", str(Path(document["data"]["unlabelled"]["train"]).parent),
    ]  # fmt: skip
    environment = {"TLC_TOKEN": "", "RAY_ADDRESS": ""}

    def submit(number: int) -> str:
        return Client(url).submit({**document, "name": f"slow-{number}"}).state

    def states() -> dict[str, str]:
        return {each.name: each.state for each in Client(url).searches()}

    with (
        silent_dashboard() as dashboard,
        tlc.serving("--address", dashboard, *where, **environment) as (url, process),
    ):
        wait_for("the service", lambda: is_served(f"{url}/ready"), 60, every=0.1)
        with ThreadPoolExecutor(40) as pool:
            assert [*pool.map(submit, range(40))] == ["submitted"] * 40
        for path in ("/ready", "/searches/tiny/best", "/searches/tiny/frontier") * 3:
            started = time.perf_counter()
            answer = requests.get(f"{url}{path}", timeout=30)
            assert time.perf_counter() - started < 1.0
            assert answer.ok, answer.text
            if path == "/ready":
                assert answer.json() == {"status": "degraded", "away": ["ray"]}
        assert sorted(Counter(states().values()).values()) == [1, 8, 32]
        with pytest.raises(ServiceError, match="is being started already") as refused:
            submit(7)
        assert refused.value.status == 409
        waiting = next(name for name, state in states().items() if state == "submitted")
        Client(url).stop(waiting)
        with pytest.raises(ServiceError, match="no search named"):
            Client(url).search(waiting)
        os.kill(process, signal.SIGKILL)

    with socket.create_server(("127.0.0.1", 0)) as closed:
        nothing = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with tlc.ready("--address", nothing, *where, **environment) as url:
        name = next(each for each in sorted(states()) if each != "tiny")
        events = [(event.kind, event.state) for event in Client(url).events(name)]
        assert events[-1] == ("state", "failed to start")
        wait_for("all starts", lambda: len({*states().values()}) == 2, 60, every=0.5)
        assert Counter(states().values()) == {"new": 1, "failed to start": 39}
        assert "Failed to connect to Ray" in Client(url).search(name).ended
        shown = tlc.ask("show", name, "--server", url, TLC_TOKEN="")
        assert "Failed to connect to Ray" in shown.stdout
        deleted = Client(url).delete(name)
        assert (deleted.name, deleted.trials) == (name, 0)
        assert name not in states()
        # Another may be submitted again.
        name = next(each for each in states() if each != "tiny")
        assert Client(url).resume(name).state == "submitted"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/searches/nothing", 404),
        ("/searches/tiny/trials/99", 404),
        ("/searches/tiny/best?max_size_mb=-1", 422),
        ("/searches/tiny/best?max_size_mb=nan", 422),
        ("/searches/tiny/trials?limit=1001", 422),
        ("/searches/tiny/trials?order=price", 422),
        ("/searches/..%2F..%2Fetc", 404),
        ("/searches/%2e%2e/best", 422),
        ("/searches/a.b", 422),
        ("/nothing", 404),
    ],
)
def test_an_invalid_request_returns_problem_details(path: str, status: int, service: str) -> None:
    problem_of(requests.get(f"{service}{path}", timeout=30), status)


def test_a_large_body_is_refused_with_and_without_content_length(service: str) -> None:
    large = b'{"search": "' + b"x" * 2_000_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    address = f"{service}/searches"
    problem_of(requests.post(address, data=large, headers=headers, timeout=30), 413)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    try:
        response = requests.post(address, data=pieces(), headers=headers, timeout=30)
    except requests.ConnectionError:
        # It closed the connection before the end of the body.
        return
    problem_of(response, 413)


@contextmanager
def served(settings: Settings, port: int = 0) -> Iterator[str]:
    """A service in this process; gives its URL."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(create_app(settings), log_level="critical")
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_for("the service", lambda: server.started, 20)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.force_exit = server.should_exit = True
            thread.join()


def test_searches_are_renamed_and_deleted_through_the_service(
    study: Study, home: Path, empty_mlflow: Path
) -> None:
    shutil.copy(empty_mlflow, home / "mlflow.db")
    result = made_up_result(0.5, 0.1)
    stages = [{**each, "key": "c"} for each in result["stages"]]
    study.tell_result(study.ask().number, {**result, "stages": stages}, [])
    settings = Settings(Storage(study=f"sqlite:///{home / 'study.db'}"), Started())

    def tlc(*words: str) -> str:
        ran = CliRunner().invoke(cli, [*words, "--server", url], catch_exceptions=False, input="n")
        return ran.stdout

    with served(settings) as url:
        with holding_lease(study) as holder:
            for words in (("delete", "tiny", "--yes"), ("rename", "tiny", "other")):
                with pytest.raises(ServiceError, match="search 'tiny' is running") as refused:
                    tlc(*words)
                assert refused.value.status == 409
            holder.end("finished", "")
        with pytest.raises(ServiceError, match="should match pattern"):
            tlc("rename", "tiny", "../other")
        assert tlc("rename", "tiny", "other").startswith("search 'tiny' is now 'other'; its file")
        with pytest.raises(UserError, match="nothing was deleted"):
            tlc("delete", "other")
        assert [each.name for each in Client(url).searches()] == ["other"]
        assert tlc("delete", "other", "--yes").startswith("deleted search 'other': 1 trials with")
        assert Client(url).searches() == []
        with pytest.raises(ServiceError, match="no search named 'other'"):
            tlc("delete", "other", "--yes")


def test_events_that_were_missed_follow_once_after_a_restart(study: Study, home: Path) -> None:
    settings = Settings(Storage(study=f"sqlite:///{home / 'study.db'}"), Started())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def finish(count: int) -> None:
        for _ in range(count):
            study.tell_result(study.ask().number, made_up_result(0.5, 0.1), [])

    told: list[Event] = []
    client = Client(f"http://127.0.0.1:{port}")
    with holding_lease(study) as holder:
        going_on = study.ask()
        finish(2)
        with served(settings, port):
            events = client.events("tiny")
            told += [next(events) for _ in range(4)]
        finish(2)
        with served(settings, port):
            follower = Thread(target=lambda: told.extend(events))
            follower.start()
            wait_for("what was missed", lambda: len(told) >= 4, 20)
            study.tell_result(going_on.number, made_up_result(0.6, 0.2), [])
            holder.end("finished", "")
            holder.release()
            follower.join(30)
    trials = [(event.trial, event.state) for event in told if event.kind == "trial"]
    assert trials == [(0, "running"), *[(n, "complete") for n in (1, 2, 3, 4, 0)]]
    assert [event.state for event in told if event.kind == "state"] == ["running", "finished"]


def test_every_route_with_information_requires_the_token(finished: Tlc) -> None:
    (finished.folder / "read-token").write_text(f"{READ_TOKEN}\n")
    with finished.ready("--read-token-file", "read-token", TLC_TOKEN=TOKEN) as url:
        for header in (
            {}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN},
            {"Authorization": f"Bearer {TOKEN}x"},
        ):  # fmt: skip
            for path in ("/searches", "/searches/tiny/best", "/docs", "/openapi.json", "/metrics"):
                response = requests.get(f"{url}{path}", headers=header, timeout=30)
                problem_of(response, 401)
                scheme = "Basic" if path in ("/docs", "/openapi.json") else "Bearer"
                assert response.headers["www-authenticate"].startswith(scheme)
        assert requests.get(f"{url}/health", timeout=30).json() == {"status": "ok"}
        assert [s.name for s in Client(url, token=TOKEN).searches()] == ["tiny"]
        token = {"Authorization": f"Bearer {TOKEN}"}
        told = requests.get(f"{url}/openapi.json", headers=token, timeout=30).json()
        assert told["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
        assert {"HTTPBearer": []} in told["paths"]["/searches"]["post"]["security"]
        assert "security" not in told["paths"]["/health"]["get"]
        # A browser asks for a password, and sends it for the documentation.
        statuses = {
            (path, password): requests.get(f"{url}{path}", auth=("", password), timeout=30)
            for path in ("/docs", "/openapi.json", "/docs-assets/swagger-ui.css", "/searches")
            for password in (TOKEN, "wrong")
        }
        assert [key for key, answer in statuses.items() if answer.ok] == [
            ("/docs", TOKEN), ("/openapi.json", TOKEN), ("/docs-assets/swagger-ui.css", TOKEN),
        ]  # fmt: skip
        # The other token reads.
        reader = Client(url, token=READ_TOKEN)
        assert [s.name for s in reader.searches()] == ["tiny"]
        assert requests.get(f"{url}/docs", auth=("", READ_TOKEN), timeout=30).ok
        changes: list[Callable[[], object]] = [
            lambda: reader.stop("tiny"), lambda: reader.resume("tiny"),
            lambda: reader.submit("default"), lambda: reader.what_if("tiny", {}),
        ]  # fmt: skip
        for change in changes:
            with pytest.raises(ServiceError, match="this token only reads") as refused:
                change()
            assert refused.value.problem["title"] == "Forbidden"
        with pytest.raises(ServiceError, match="send the header"):
            Client(url, token=f"{READ_TOKEN}x").searches()
        allowed = told["paths"]["/searches"]["get"]["security"]
        assert allowed == [{"HTTPBearer": []}, {"ReadToken": []}]
        assert told["paths"]["/searches"]["post"]["security"] == [{"HTTPBearer": []}]
        listed = finished.ask("list", "--server", url, TLC_TOKEN=TOKEN)
        assert listed.returncode == 0, listed.stderr
        unknown = finished.ask("list", "--server", url, TLC_TOKEN="")
        assert unknown.returncode == 2
        assert "Authorization: Bearer" in unknown.stderr


@pytest.mark.parametrize(
    ("token", "read_token", "message"),
    [
        ("", "", "requires a token"),
        ("short", "", "TLC_TOKEN: must be ASCII without spaces, with at least 16 characters"),
        (TOKEN, "short", "TLC_READ_TOKEN: must be ASCII"),
        (TOKEN, TOKEN, "TLC_READ_TOKEN: is the full token"),
        ("", TOKEN, "--read-token-file: a token that only reads stands beside the full one"),
    ],
)
def test_listening_beyond_loopback_requires_good_tokens(
    token: str, read_token: str, message: str, finished: Tlc
) -> None:
    words = ("serve", "--host", "0.0.0.0", "--port", "0")
    run = finished.ask(*words, TLC_TOKEN=token, TLC_READ_TOKEN=read_token)
    assert run.returncode == 2
    assert message in run.stderr


def test_a_busy_port_is_reported(finished: Tlc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = finished.ask("serve", "--port", str(taken.getsockname()[1]), TLC_TOKEN="")
    assert run.returncode == 2
    assert "cannot listen on 127.0.0.1" in run.stderr
    assert "Traceback" not in run.stderr


def test_pages_of_other_sites_and_unknown_host_names_are_refused(service: str) -> None:
    other = requests.get(f"{service}/searches", headers={"Host": "evil.example"}, timeout=30)
    problem_of(other, 403)
    page = requests.post(
        f"{service}/searches/tiny/stop", headers={"Origin": "http://evil.example"}, timeout=30
    )
    problem_of(page, 403)


def test_the_documentation_loads_nothing_from_elsewhere(service: str) -> None:
    page = requests.get(f"{service}/docs", timeout=30).text
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert any(source.endswith("swagger-ui-bundle.js") for source in sources)
    for source in sources:
        assert source.startswith("/")
        assert requests.get(f"{service}{source}", timeout=30).ok


def test_requests_above_the_rate_limit_are_refused(finished: Tlc) -> None:
    with finished.ready("--requests-per-minute", "5", TLC_TOKEN="") as url:
        answers = [requests.get(f"{url}/searches/tiny", timeout=30) for _ in range(8)]
        assert [a.status_code for a in answers[:5]] == [200] * 5
        problem_of(answers[7], 429)
        assert answers[7].headers["retry-after"] == "60"
        assert requests.get(f"{url}/health", timeout=30).ok


def test_responses_on_one_connection_are_sent_at_once(service: str) -> None:
    with requests.Session() as session:
        seconds = []
        for _ in range(10):
            started = time.perf_counter()
            assert session.get(f"{service}/health", timeout=30).ok
            seconds.append(time.perf_counter() - started)
    # TCP would delay each by 40 ms.
    assert min(seconds) < 0.03


def test_metrics_have_the_format_of_prometheus(service: str) -> None:
    Client(service).best("tiny")
    text = requests.get(f"{service}/metrics", timeout=30).text
    assert 'tlc_trials{search="tiny",state="complete"} 8.0' in text
    assert re.search(r'tlc_requests_total\{method="GET",route="[^"]*best",status="200"\} \d', text)


def test_a_service_without_its_database_is_not_ready(tlc: Tlc) -> None:
    with tlc.ready(TLC_TOKEN="") as url:
        assert Client(url).searches() == []
        home = tlc.folder / "home"
        home.mkdir(exist_ok=True)
        (home / "study.db").write_text("not a database, and long enough to be taken for one " * 40)
        problem_of(requests.get(f"{url}/ready", timeout=30), 503)


def test_every_operation_conforms_to_its_openapi_description(service: str, tmp_path: Path) -> None:
    """Schemathesis runs on all operations that start, rename and delete no search: no 5xx, nothing
    undocumented."""
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")), "run", f"{service}/openapi.json",
            "--phases", "examples,coverage", "--max-examples", "3", "--checks", "all",
            # A schema cannot express which names exist or which configurations a space has.
            "--exclude-checks", "positive_data_acceptance",
            "--exclude-operation-id", "submit_searches_post", "--no-color",
            "--exclude-operation-id", "resume_searches__name__resume_post",
            # It finds the names of searches in responses.
            "--exclude-operation-id", "delete_searches__name__delete",
            "--exclude-operation-id", "rename_searches__name__rename_post",
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
        # It writes its findings to the current folder.
        cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:]


def test_concurrent_predictions_are_equal(finished: Tlc) -> None:
    values = {"depth": 1, "width": 32, "budget": 20, "quantisation": "rtn-8", "sparsity": 0}
    fresh = StudyQueries(finished.study_url)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fresh.what_if("tiny", values), range(8)))
    assert all(prediction == found[0] for prediction in found)


def test_other_studies_in_the_database_are_ignored(study: Study, home: Path) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    optuna.create_study(storage=url, study_name="of-others")
    assert [summary.name for summary in StudyQueries(url).searches()] == ["tiny"]
    with pytest.raises(NoSuchStudy, match="no search named 'of-others'"):
        StudyQueries(url).best("of-others")


@pytest.mark.parametrize("text", ["trials=2020-99-99", "trials=&a [*a]", "space=[" * 90])
def test_overrides_that_yaml_refuses_return_problem_details(text: str, service: str) -> None:
    body = {"search": "default", "overrides": [text]}
    problem_of(requests.post(f"{service}/searches", json=body, timeout=30), 422)


def test_a_search_with_deep_nesting_returns_problem_details(service: str) -> None:
    text = '{"search": ' + '{"a": ' * 800 + "1" + "}" * 800 + "}"
    response = requests.post(
        f"{service}/searches", data=text, headers={"Content-Type": "application/json"}, timeout=30
    )
    assert response.status_code in (400, 422)
    problem_of(response, response.status_code)
