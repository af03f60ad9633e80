"""Searches as jobs of a Ray cluster, through its Jobs API."""

from __future__ import annotations

import io
import itertools
import logging
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from fsspec.registry import known_implementations
from packaging.requirements import Requirement
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

import objectives
import search as search_package
import spaces
from search.execution.worker_setup import code_for_workers
from search.storage.errors import BusyStudy, NoSuchStudy
from search.submission.local import POLL_SECONDS, LaunchError
from spaces.file.search_file import SearchFile
from spaces.file.storage import Storage

NAME = "tlc.search"
"""Key of a job's metadata with the name of its search."""
FILE = "search.yaml"
CHECK_SECONDS = 600.0
"""Limit of the check of the nodes, which includes installing the requirements."""
AGENT_SECONDS = 60.0
"""Seconds in which a cluster that has just started must accept a job."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""Time limit for each answer of the dashboard, which lists and accepts jobs."""
PROBE_SECONDS = 0.5
ERRORS = (
    AuthenticationError, ConnectionError, requests.RequestException, RuntimeError, ValueError,
)  # fmt: skip
PACKAGE = "tlc-search"
LEFT_OUT = {"ray", PACKAGE}
"""The cluster's own Ray, and tlc, whose code is sent with the job."""


class JobsClient(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which has no time limit of its own: a dashboard may accept and never answer."""

    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        limit = (CONNECT_SECONDS, ANSWER_SECONDS)
        return super()._do_request(*arguments, timeout=limit, **options)


class RayJobs:
    """Searches as jobs of a Ray cluster.

    Args:
        address: URL of its dashboard, such as ``http://HEAD:8265``.
        with_requirements: Whether nodes install tlc's requirements, at the versions that are
            installed here; nodes that have them need only the code.

    Every call connects, so that a service starts while its cluster is away. Each raises
    ``LaunchError`` where the cluster cannot be reached, does not answer in time, or wants a token.

    Raises:
        LaunchError: The address is no URL of a dashboard.
    """

    def __init__(self, address: str, *, with_requirements: bool = True) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise LaunchError(
                f"--address: {address!r} is not the URL of a Ray dashboard, "
                "such as http://HEAD:8265"
            )
        self._address = address.rstrip("/")
        self._with_requirements = with_requirements
        self._connected: JobsClient | None = None

    @property
    def _client(self) -> JobsClient:
        # Without a lock, behind which every call would wait for the first one.
        if self._connected is None:
            self._connected = JobsClient(self._address)
            # It logs each upload, and sets the level of its loggers when it is created.
            for name in list(logging.root.manager.loggerDict):
                if name.startswith("ray"):
                    logging.getLogger(name).setLevel(logging.ERROR)
        return self._connected

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise ``LaunchError`` for errors of the Jobs API."""
        try:
            yield
        except ERRORS as error:
            message = str(error).strip() or type(error).__name__
            raise LaunchError(f"--address: {self._address}: {message.splitlines()[0]}") from error

    def check(self, search: SearchFile) -> None:
        """Refuse a search with locations that the nodes of a cluster do not have."""
        check_portable(search)

    def start(self, search: SearchFile) -> str:
        """Submit the code, the search file and the requirements, after a job that checks that every
        node reaches what the search needs."""
        check_portable(search)
        with self._translated_errors(), tempfile.TemporaryDirectory(prefix="tlc-job-") as folder:
            if self._running(search.name) is not None:
                raise self._busy(search.name)
            identifier = self._next(search.name)
            environment = self._packed(search, Path(folder))
            self._check(search.name, environment)
            # Another start may have passed the check: only one gets the identifier.
            try:
                return self._submit("run", search.name, environment, identifier)
            except RuntimeError as error:
                if f"{identifier} already exists" in str(error):
                    raise self._busy(search.name) from error
                raise

    def can_start(self) -> bool:
        """Whether its dashboard answers."""
        try:
            response = requests.get(f"{self._address}/api/version", timeout=PROBE_SECONDS)
        except requests.RequestException:
            return False
        return response.status_code < 500

    def stop(self, name: str) -> None:
        """Send SIGTERM to the job; Ray kills it three seconds later (``RAY_JOB_STOP_WAIT_TIME_S``
        on the head)."""
        with self._translated_errors():
            job = self._running(name)
            if job is not None:
                self._client.stop_job(job.submission_id)
                return
        raise BusyStudy(
            f"search {name!r} is not running on {self._address}; it is {self.status(name)}"
        )

    def status(self, name: str) -> str:
        """The state of its last job, in lower case."""
        with self._translated_errors():
            return str(self._last(name).status.value).lower()

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """Output of its last job."""
        with self._translated_errors():
            job = self._last(name).submission_id
        passed = 0
        while True:
            with self._translated_errors():
                is_over = not follow or self._client.get_job_status(job).is_terminal()
                text = self._client.get_job_logs(job)
            if len(text) > passed:
                yield text[passed:]
                passed = len(text)
            if is_over:
                return
            time.sleep(POLL_SECONDS)

    def _check(self, name: str, environment: dict[str, Any]) -> None:
        job = self._submit("check", name, environment)
        deadline = time.monotonic() + CHECK_SECONDS
        while not self._client.get_job_status(job).is_terminal():
            if time.monotonic() > deadline:
                self._client.stop_job(job)
                raise LaunchError(
                    f"the nodes of {self._address} did not answer within {CHECK_SECONDS:.0f} s; "
                    f"see the logs of its job {job}"
                )
            time.sleep(POLL_SECONDS)
        if str(self._client.get_job_status(job).value) != "SUCCEEDED":
            raise LaunchError(self._refusal(job))

    def _refusal(self, job: str) -> str:
        """Errors of a failed check, else the end of its output, else Ray's message."""
        lines = self._client.get_job_logs(job).splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        message = self._client.get_job_info(job).message or ""
        return "\n".join(errors or lines[-5:] or message.splitlines()[-5:])

    def _submit(
        self, verb: str, name: str, environment: dict[str, Any], identifier: str | None = None
    ) -> str:
        deadline = time.monotonic() + AGENT_SECONDS
        while True:
            try:
                return str(
                    self._client.submit_job(
                        entrypoint=f"python -m search.cli {verb} {FILE} --address auto",
                        submission_id=identifier,
                        runtime_env=environment,
                        metadata={NAME: name, "tlc.verb": verb},
                    )
                )
            except RuntimeError as error:
                # A head that has just started answers before it can run jobs.
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def _packed(self, search: SearchFile, folder: Path) -> dict[str, Any]:
        """Copy the packages and the search file into a folder that Ray sends to the nodes; returns
        the runtime environment of its jobs."""
        for package in (spaces, objectives, search_package):
            source = Path(str(package.__file__)).parent
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, folder / source.name, ignore=ignored)
        # The module of a user's own task imports it.
        shutil.copy(Path(spaces.__path__[0]).parent / "tlc.py", folder)
        code = code_for_workers(search.task)
        if code:
            with zipfile.ZipFile(io.BytesIO(code)) as archive:
                archive.extractall(folder)
        document = search.model_copy(update={"address": None}).to_dict()
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        (folder / FILE).write_text(text, encoding="utf-8")
        environment: dict[str, Any] = {
            "working_dir": str(folder),
            # Each node keeps its prepared data there.
            "env_vars": {"TLC_HOME": "~/.tlc", "PYTHONUNBUFFERED": "1"},
        }
        if self._with_requirements:
            environment["pip"] = pinned_requirements(search.storage)
        return environment

    def _of(self, name: str) -> list[Any]:
        """Jobs that ran a search, oldest first."""
        wanted = {NAME: name, "tlc.verb": "run"}.items()
        jobs = [job for job in self._client.list_jobs() if wanted <= (job.metadata or {}).items()]
        return sorted(jobs, key=lambda job: job.start_time or 0)

    def _next(self, name: str) -> str:
        """Identifier of its next job: concurrent starts get the same, and Ray accepts one."""
        taken = {job.submission_id for job in self._client.list_jobs()}
        numbered = (f"{name}-{number}" for number in itertools.count(1))
        return next(identifier for identifier in numbered if identifier not in taken)

    def _busy(self, name: str) -> BusyStudy:
        return BusyStudy(f"search {name!r} is running already, on {self._address}")

    def _last(self, name: str) -> Any:
        jobs = self._of(name)
        if not jobs:
            raise NoSuchStudy(f"no search named {name!r} was submitted to {self._address}")
        return jobs[-1]

    def _running(self, name: str) -> Any | None:
        return next((job for job in self._of(name) if not job.status.is_terminal()), None)


def check_portable(search: SearchFile) -> None:
    """Refuse a search with locations that the nodes of a cluster do not have.

    Raises:
        LaunchError: A location is missing, or is relative to the current folder.
    """
    storage = search.storage
    faults = [
        f"storage.{field}: is missing; a cluster needs {example}"
        for field, given, example in (
            ("study", storage.study, "a database, such as postgresql+psycopg://USER@HOST/tlc"),
            ("store", storage.store, "what all nodes reach, such as s3://BUCKET/tlc"),
            ("mlflow", storage.mlflow, "a tracking server, such as http://HOST:5000"),
        )
        if given is None
    ]
    paths = [*search.local_paths(), ("storage.store", storage.store or "/")]
    faults += [
        f"{field}: {path!r} starts in the current folder, which a node does not have; "
        "give a URL, or the whole path of a folder that all nodes share"
        for field, path in paths
        if "://" not in path and not Path(path).is_absolute()
    ]
    if faults:
        raise LaunchError("\n".join(faults))


def pinned_requirements(storage: Storage) -> list[str]:
    """Direct and transitive requirements of tlc, pinned to the versions that are installed here.

    They include the drivers of the study's database and of the store, such as psycopg and s3fs.
    """
    pinned: dict[str, str] = {}
    waiting = [Requirement(PACKAGE), *_drivers(storage)]
    known: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = (requirement.name.lower(), frozenset(requirement.extras))
        if key in known:
            continue
        known.add(key)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        # A local version, such as 2.13.0+cpu, is not on PyPI.
        pinned[found.metadata["Name"]] = found.version.partition("+")[0]
        waiting += [
            inner
            for inner in map(Requirement, found.requires or [])
            if _applies(inner, requirement.extras)
        ]
    return sorted(f"{name}=={version}" for name, version in pinned.items() if name not in LEFT_OUT)


def _drivers(storage: Storage) -> list[Requirement]:
    drivers = []
    if urlsplit(storage.study or "").scheme.startswith("postgresql"):
        drivers.append(f"{PACKAGE}[postgres]")
    filesystem = known_implementations.get(urlsplit(storage.store or "").scheme)
    if filesystem is not None:
        drivers.append(filesystem["class"].partition(".")[0])
    return list(map(Requirement, drivers))


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ["", *extras])
