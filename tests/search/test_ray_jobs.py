"""Searches as Ray jobs: what is submitted, and what a job's state means. Ray's client is replaced
by one in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.job_submission import JobStatus

from search.storage.errors import BusyStudy, NoSuchStudy
from search.submission import ray_jobs
from search.submission.local import LaunchError
from search.submission.ray_jobs import RayJobs
from spaces.file.search_file import SearchFile
from spaces.loading import validate
from tests.own_package import own_document, write_package

LOCATIONS = {
    "storage__study": "postgresql+psycopg://db/tlc",
    "storage__store": "s3://bucket/tlc",
    "storage__mlflow": "http://mlflow:5000",
}


@dataclass
class Job:
    """A job as Ray's client lists it, with the files of its working folder."""

    submission_id: str
    entrypoint: str
    runtime_env: dict[str, Any]
    metadata: dict[str, str]
    files: set[str]
    document: dict[str, Any]
    status: JobStatus
    start_time: int
    message: str = ""


@dataclass
class Cluster:
    """What Ray's client does, in memory: checks end at once, runs go on."""

    jobs: list[Job] = field(default_factory=list)
    check_status: JobStatus = JobStatus.SUCCEEDED
    output: str = ""
    refusals: list[str] = field(default_factory=list)
    identifiers: itertools.count[int] = field(default_factory=itertools.count)

    def submit_job(
        self,
        *,
        entrypoint: str,
        submission_id: str | None,
        runtime_env: dict[str, Any],
        metadata: dict[str, str],
    ) -> str:
        if self.refusals:
            raise RuntimeError(self.refusals.pop())
        identifier = submission_id or f"raysubmit_{next(self.identifiers)}"
        if identifier in {job.submission_id for job in self.jobs}:
            raise RuntimeError(f"Job with submission_id {identifier} already exists")
        folder = Path(runtime_env["working_dir"])
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        is_check = metadata["tlc.verb"] == "check"
        status = self.check_status if is_check else JobStatus.RUNNING
        document = yaml.safe_load((folder / "search.yaml").read_text())
        self.jobs.append(
            Job(
                identifier,
                entrypoint,
                runtime_env,
                metadata,
                files,
                document,
                status,
                start_time=len(self.jobs),
            )
        )
        return identifier

    def list_jobs(self) -> list[Job]:
        return list(self.jobs)

    def get_job_info(self, identifier: str) -> Job:
        return next(job for job in self.jobs if job.submission_id == identifier)

    def get_job_status(self, identifier: str) -> JobStatus:
        return self.get_job_info(identifier).status

    def get_job_logs(self, identifier: str) -> str:
        return self.output

    def stop_job(self, identifier: str) -> bool:
        self.get_job_info(identifier).status = JobStatus.STOPPED
        return True


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(RayJobs, "_client", made)
    monkeypatch.setattr(ray_jobs, "POLL_SECONDS", 0.01)
    return made


@pytest.fixture
def jobs(cluster: Cluster) -> RayJobs:
    return RayJobs("http://head:8265", with_requirements=False)


@pytest.fixture
def search(make_search: Callable[..., SearchFile]) -> SearchFile:
    return make_search(**LOCATIONS, address="head:6379")


def test_a_search_is_checked_and_submitted_with_its_code(
    jobs: RayJobs, cluster: Cluster, search: SearchFile
) -> None:
    assert jobs.start(search) == "tiny-1"
    check, run = cluster.jobs
    assert check.entrypoint == "python -m search.cli check search.yaml --address auto"
    assert run.entrypoint == "python -m search.cli run search.yaml --address auto"
    assert run.metadata["tlc.search"] == "tiny"
    assert {"search/cli/__main__.py", "spaces/loading.py", "objectives/objective.py"} <= run.files
    assert not any("__pycache__" in name for name in run.files)
    # On the cluster, the job joins the cluster that it runs on.
    assert SearchFile.model_validate(run.document) == search.model_copy(update={"address": None})
    assert "pip" not in run.runtime_env
    assert jobs.status("tiny") == "running"


def test_the_package_of_a_users_own_task_is_submitted_too(
    jobs: RayJobs, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, "own_submitted")
    (tmp_path / "unrelated.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    document = own_document("own_submitted")
    storage = {name.removeprefix("storage__"): url for name, url in LOCATIONS.items()}
    jobs.start(validate({**document, "storage": storage}))
    sent = cluster.jobs[-1]
    package = {f"own_submitted/{name}.py" for name in ("__init__", "reader", "tasks")}
    assert package | {"tlc.py"} <= sent.files
    assert "unrelated.py" not in sent.files
    assert sent.document["task"]["name"] == "own_submitted.tasks:FirstSymbol"


def test_nodes_without_the_requirements_install_them(cluster: Cluster, search: SearchFile) -> None:
    RayJobs("http://head:8265").start(search)
    pinned = cluster.jobs[-1].runtime_env["pip"]
    assert any(line.startswith("optuna==") for line in pinned)


def test_a_failed_check_refuses_the_search_with_its_errors(
    jobs: RayJobs, cluster: Cluster, search: SearchFile
) -> None:
    cluster.check_status = JobStatus.FAILED
    cluster.output = "starting\nerror: storage.store: not reached, on node a\n"
    with pytest.raises(LaunchError, match=r"^storage\.store: not reached, on node a$"):
        jobs.start(search)
    cluster.output = ""
    cluster.jobs.clear()
    with pytest.raises(NoSuchStudy):
        jobs.status("tiny")


def test_a_running_search_is_not_started_twice_and_a_stopped_one_is_resumed(
    jobs: RayJobs, cluster: Cluster, search: SearchFile
) -> None:
    jobs.start(search)
    with pytest.raises(BusyStudy, match="is running already"):
        jobs.start(search)
    jobs.stop("tiny")
    assert jobs.status("tiny") == "stopped"
    with pytest.raises(BusyStudy, match="is not running"):
        jobs.stop("tiny")
    assert jobs.start(search) == "tiny-2"


def test_of_two_concurrent_starts_one_is_refused(
    jobs: RayJobs, cluster: Cluster, search: SearchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.start(search)
    # The other start had listed the jobs before this one was submitted.
    monkeypatch.setattr(jobs, "_running", lambda name: None)
    monkeypatch.setattr(jobs, "_next", lambda name: "tiny-1")
    with pytest.raises(BusyStudy, match="is running already"):
        jobs.start(search)


def test_a_head_that_has_just_started_is_asked_again(
    jobs: RayJobs, cluster: Cluster, search: SearchFile
) -> None:
    cluster.refusals = ["No available agent to submit job"] * 2
    assert jobs.start(search) == "tiny-1"


def test_logs_are_those_of_the_last_job_and_end_with_it(
    jobs: RayJobs, cluster: Cluster, search: SearchFile
) -> None:
    jobs.start(search)
    cluster.output = "first\n"
    following = jobs.logs("tiny", follow=True)
    assert next(following) == "first\n"
    cluster.output += "last\n"
    cluster.jobs[-1].status = JobStatus.SUCCEEDED
    assert list(following) == ["last\n"]
    assert list(jobs.logs("tiny", follow=False)) == ["first\nlast\n"]


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", ""])
def test_an_address_that_is_no_dashboard_is_refused(address: str) -> None:
    with pytest.raises(LaunchError, match="is not the URL of a Ray dashboard"):
        RayJobs(address)


def test_a_cluster_that_does_not_answer_is_an_error_of_the_address(
    jobs: RayJobs, cluster: Cluster, search: SearchFile
) -> None:
    cluster.refusals = ["Failed to connect"]
    with pytest.raises(LaunchError, match=r"--address: http://head:8265: Failed to connect"):
        jobs.start(search)
