"""The files for Kubernetes and Slurm in ``docs/clusters``.

Neither is here: the names of fields are those of KubeRay's types, and Slurm's commands are scripts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from spaces.file.search_file import SearchFile
from spaces.loading import validate
from tests.waiting import wait_for

FOLDER = Path(__file__).parents[2] / "docs" / "clusters"
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata",
    "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy", "entrypoint",
    "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources", "entrypointNumCpus",
    "entrypointNumGpus", "ttlSecondsAfterFinished", "shutdownAfterJobFinishes", "suspend",
}  # fmt: skip
"""Fields of KubeRay's ``RayJobSpec``."""
HEAD = {"serviceType", "rayStartParams", "template"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}

COMMANDS = {
    "scontrol": 'echo "scontrol $*" >> log; [ "$1" != show ] || echo localhost',
    "srun": 'while [ "$1" != ray ]; do shift; done; exec "$@"',
    "getent": "echo 127.0.0.1 STREAM localhost",
    "ray": (
        'echo "ray $*" >> log; for word; do case $word in --port=*) port=${word#*=};; esac; done; '
        f'exec {sys.executable} -m http.server --bind 127.0.0.1 "$port" > /dev/null 2>&1'
    ),
    "tlc": 'echo "tlc $*" >> log; exec sleep 60',
}
"""What Slurm, Ray and tlc do in the test of the script."""


@pytest.fixture
def ray_job() -> tuple[SearchFile, dict[str, Any]]:
    """The search, and the specification of the job."""
    config, job = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    return validate(yaml.safe_load(config["data"]["search.yaml"])), job["spec"]


def test_the_ray_job_is_restarted_and_its_cluster_has_what_the_search_asks_for(
    ray_job: tuple[SearchFile, dict[str, Any]],
) -> None:
    search, spec = ray_job
    assert spec.keys() <= RAY_JOB
    assert spec["backoffLimit"] > 0
    cluster = spec["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["headGroupSpec"].keys() <= HEAD
    (workers,) = cluster["workerGroupSpecs"]
    assert workers.keys() <= WORKERS
    assert workers["minReplicas"] == 0
    assert workers["maxReplicas"] == search.concurrency
    (container,) = workers["template"]["spec"]["containers"]
    has = {**container["resources"]["requests"], **container["resources"]["limits"]}
    assert int(has["cpu"]) >= search.resources.cpus
    assert int(has["nvidia.com/gpu"]) >= (search.resources.gpus or 0)
    # Ray takes 30 % of a node's memory for objects by default.
    assert search.resources.memory_gb is not None
    assert 0.7 * int(has["memory"].removesuffix("Gi")) * 2**30 >= search.resources.memory_gb * 1e9


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_slurm_job_joins_its_nodes_and_goes_into_the_queue_again(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, body in COMMANDS.items():
        (commands / name).write_text(f"#!/bin/sh\n{body}\n")
        (commands / name).chmod(0o700)
    log = tmp_path / "log"
    job = subprocess.Popen(
        ["bash", str(FOLDER / "slurm.sh"), "search.yaml"],
        env={
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "localhost",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_CPUS_PER_TASK": "3",
        },
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        wait_for("the search", lambda: log.exists() and "\ntlc " in log.read_text(), 30)
        port = 20000 + os.getpid() % 10000
        assert "--num-cpus=3" in log.read_text()
        assert f"tlc run search.yaml --address 127.0.0.1:{port}" in log.read_text()
        job.send_signal(signal.SIGTERM)
        wait_for("it is queued", lambda: f"requeue {os.getpid()}" in log.read_text(), 30)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
