"""MLflow's pages of a workspace without an MLflow server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from perdure.service import ports
from perdure.tasks.registry.client import Client

CONFIG = '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'
PICTURE = b"\x89PNG not quite a picture"


@dataclass(frozen=True)
class Site:
    root: Path
    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On a workspace whose database is not there yet."""
    root = tmp_path_factory.mktemp("website")
    (root / "perdure.toml").write_text(CONFIG)
    port = ports.choose(root, ["mlflow"])["mlflow"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "perdure.tasks.registry.website", str(root), str(port)],
        stdin=subprocess.PIPE,
    )
    found = Site(root, f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + 60
        while not answers(found):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found
    finally:
        process.kill()
        process.communicate()


def answers(site: Site) -> bool:
    try:
        return httpx.get(f"{site.url}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_it_shows_what_stands_in_the_workspace_s_database(site: Site) -> None:
    state = site.root / ".perdure"
    client = Client(f"sqlite:///{state / 'mlflow.db'}")
    place = (state / "artifacts" / "learning").as_uri()
    experiment = client.call("create_experiment", "weather", artifact_location=place)
    run = client.call("create_run", experiment, run_name="learn").info.run_id
    picture = site.root / "figure.png"
    picture.write_bytes(PICTURE)
    client.call("log_artifact", run, str(picture), "figures")

    page = httpx.get(site.url)
    assert page.status_code == 200
    assert "<title>MLflow" in page.text
    listed = httpx.get(
        f"{site.url}/ajax-api/2.0/mlflow/artifacts/list", params={"run_id": run, "path": "figures"}
    )
    assert [one["path"] for one in listed.json()["files"]] == ["figures/figure.png"]
    shown = httpx.get(
        f"{site.url}/get-artifact", params={"run_uuid": run, "path": "figures/figure.png"}
    )
    assert shown.content == PICTURE


def test_it_answers_nobody_who_calls_it_by_another_name(site: Site) -> None:
    """Else a page in the user's browser could read it (DNS rebinding)."""
    assert httpx.get(f"{site.url}/api/2.0/mlflow/experiments/get?experiment_id=0").is_success
    refused = httpx.get(
        f"{site.url}/api/2.0/mlflow/experiments/get?experiment_id=0",
        headers={"Host": "evil.example"},
    )
    assert refused.status_code == 403


def test_it_ends_when_its_standard_input_ends(site: Site) -> None:
    assert site.process.stdin is not None
    site.process.stdin.close()
    site.process.wait(timeout=20)
    assert not answers(site)
