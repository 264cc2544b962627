"""The base job templates of deploy/, against the schemas that ship with Prefect."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import prefect
import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.workers.process import ProcessJobConfiguration

from perdure.flows.service import job
from tests.flows.service.conftest import Server

DEPLOY = Path(__file__).parents[3] / "deploy"
KINDS = ("process", "docker", "kubernetes")
SECRET = re.compile("password|secret|token|_key$|access_key", re.IGNORECASE)


def _shipped(kind: str) -> dict[str, Any]:
    views = Path(prefect.__file__).parent / "server/api/collections_data/views"
    known = json.loads((views / "aggregate-worker-metadata.json").read_text())
    (found,) = [workers[kind] for workers in known.values() if kind in workers]
    template: dict[str, Any] = found["default_base_job_configuration"]
    return template


def _template(kind: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((DEPLOY / f"{kind}.json").read_text())
    return told


def _placeholders(value: Any) -> set[str]:
    return set(re.findall(r"\{\{\s*([A-Za-z_]+)\s*\}\}", json.dumps(value)))


def _filled(value: Any, variables: dict[str, Any]) -> Any:
    """As Prefect fills a template in: a value that is all placeholder keeps its type."""
    if isinstance(value, dict):
        filled = {k: _filled(v, variables) for k, v in value.items()}
        return {k: v for k, v in filled.items() if v is not ...}
    if isinstance(value, list):
        return [_filled(v, variables) for v in value]
    if isinstance(value, str) and (match := re.fullmatch(r"\{\{\s*([A-Za-z_]+)\s*\}\}", value)):
        return variables.get(match[1], ...)
    if isinstance(value, str):
        return re.sub(r"\{\{\s*([A-Za-z_]+)\s*\}\}", lambda m: str(variables.get(m[1], "")), value)
    return value


def _defaults(template: dict[str, Any]) -> dict[str, Any]:
    known = template["variables"]["properties"]
    return {name: one["default"] for name, one in known.items() if "default" in one}


@pytest.mark.parametrize("kind", KINDS)
def test_it_knows_all_that_prefects_own_knows(kind: str) -> None:
    ours, theirs = _template(kind), _shipped(kind)
    assert set(ours["job_configuration"]) == set(theirs["job_configuration"])
    assert set(ours["variables"]["properties"]) >= set(theirs["variables"]["properties"])
    for name, one in theirs["variables"]["properties"].items():
        mine = ours["variables"]["properties"][name]
        for key in ("type", "enum", "items", "allOf", "format", "additionalProperties"):
            assert mine.get(key) == one.get(key), (name, key)


@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_is_used_and_every_placeholder_known(kind: str) -> None:
    template = _template(kind)
    known = set(template["variables"]["properties"])
    assert _placeholders(template["job_configuration"]) == known


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_valid(kind: str) -> None:
    template = _template(kind)
    schema = copy.deepcopy(template["variables"])
    jsonschema.Draft202012Validator.check_schema(schema)
    defaults = _defaults(template)
    assert defaults
    jsonschema.validate(defaults, schema)
    assert defaults["command"] == f"python -P -m {job.MODULE}"


@pytest.mark.parametrize("kind", KINDS)
def test_prefects_server_takes_it(configured: Server, kind: str) -> None:
    with configured.client() as client:
        made = client.create_work_pool(
            WorkPoolCreate(name=f"of {kind}", type=kind, base_job_template=_template(kind))
        )
        there: WorkPool = client.read_work_pool(made.name)
    assert there.base_job_template == _template(kind)


def test_a_process_is_what_prefects_worker_makes_of_it() -> None:
    template = _template("process")
    made = ProcessJobConfiguration.model_validate(
        _filled(template["job_configuration"], _defaults(template))
    )
    assert made.command == f"python -P -m {job.MODULE}"
    assert made.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


def test_a_kubernetes_job_has_its_gpu_its_memory_and_no_rights() -> None:
    template = _template("kubernetes")
    variables = {**_defaults(template), "name": "retrain", "labels": {}, "gpus": 2}
    spec = _filled(template["job_configuration"], variables)["job_manifest"]["spec"]["template"][
        "spec"
    ]
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    volumes = {one["name"]: one for one in spec["volumes"]}
    mounts = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert container["envFrom"] == [{"secretRef": {"name": "perdure"}}]
    # A volume that is mounted belongs to root, and git refuses to work in somebody else's folder.
    assert mounts["/workspace"] == {"name": "workspace", "emptyDir": {}}
    image = (DEPLOY / "Dockerfile").read_text()
    safe = re.findall(r"git config --system --add safe\.directory (\S+)", image)
    assert safe == ["/workspace"]
    assert "PERDURE_WORKSPACE=/workspace" in image


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_it(kind: str) -> None:
    environment = _defaults(_template(kind))["env"]
    assert environment
    for name, value in environment.items():
        if SECRET.search(name):
            assert re.fullmatch(r"\{\{ prefect\.blocks\.secret\.[a-z-]+ \}\}", value), name


def test_the_image_has_no_root_and_no_secret() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:10001"]
    assert not [one for one in lines if one.startswith(("ENV", "ARG")) and SECRET.search(one)]
    copied = [line.split() for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert copied
    repository = DEPLOY.parent
    for _, *sources, _target in copied:
        assert all((repository / one).exists() for one in sources), sources


def test_the_entrypoint_clones_the_workspace_once_and_pulls_it_later(tmp_path: Path) -> None:
    def run(*command: str, **environment: str) -> str:
        return subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        ).stdout

    source = tmp_path / "source"
    run("git", "init", "--quiet", str(source))
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    (source / "model").mkdir()
    place = {
        "PERDURE_GIT_REMOTE": str(source),
        "PERDURE_WORKSPACE": str(tmp_path / "workspace"),
        "PERDURE_SUBFOLDER": "model",
    }
    for number in ("first", "second"):
        (source / "model" / "perdure.toml").write_text(number)
        run("git", "-C", str(source), "add", ".")
        run("git", "-C", str(source), *who, "commit", "--quiet", "-m", number)
        told = run(str(DEPLOY / "entrypoint.sh"), "sh", "-c", "pwd; cat perdure.toml", **place)
        assert told == f"{tmp_path / 'workspace' / 'model'}\n{number}"
