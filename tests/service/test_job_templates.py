"""The base job templates of deploy/, against the schemas that ship with Prefect."""

from __future__ import annotations

import asyncio
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
from prefect.exceptions import PrefectHTTPStatusError
from prefect.workers.base import BaseJobConfiguration
from prefect.workers.process import ProcessJobConfiguration
from pydantic import SecretStr

from perdure.orchestration import pools
from perdure.service import job
from tests.service.conftest import Server

DEPLOY = Path(__file__).parents[2] / "deploy"
KINDS = ("process", "docker", "kubernetes")
SECRET = re.compile("password|secret|token|_key$|access_key", re.IGNORECASE)


def _shipped(kind: str) -> dict[str, Any]:
    views = Path(prefect.__file__).parent / "server/api/collections_data/views"
    known = json.loads((views / "aggregate-worker-metadata.json").read_text())
    (found,) = [workers[kind] for workers in known.values() if kind in workers]
    template: dict[str, Any] = found["default_base_job_configuration"]
    return template


def _template(kind: str) -> dict[str, Any]:
    messages: dict[str, Any] = json.loads((DEPLOY / f"{kind}.json").read_text())
    return messages


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


OPEN = {
    "process": {"name", "labels"},
    "docker": {"name", "labels", "env", "container_wait_timeout", "mem_limit", "memswap_limit"},
    "kubernetes": {
        *("name", "labels", "gpus", "shared_memory"),
        *("cpu_request", "cpu_limit", "memory_request", "memory_limit"),
        *("job_watch_timeout_seconds", "pod_watch_timeout_seconds"),
    },
}
"""What a flow run may choose: how much of a machine it gets, and never what is carried out."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_chooses_nothing_that_is_carried_out(kind: str) -> None:
    template = _template(kind)
    assert set(template["variables"]["properties"]) == OPEN[kind]
    assert template["variables"]["additionalProperties"] is False
    if kind == "docker":  # Prefect wants what names a secret to be a variable: here of one value
        env = template["variables"]["properties"]["env"]
        assert env["const"] == env["default"]
    theirs = _shipped(kind)["variables"]["properties"]
    for name in ("command", "env"):  # Prefect's own leaves both open
        assert name in theirs
    assert _shipped("process")["variables"]["properties"].keys() >= {"working_dir"}


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_what_prefects_own_has(kind: str) -> None:
    ours, theirs = _template(kind), _shipped(kind)
    # A secret or a cluster that is named there is the worker's to have.
    assert set(ours["job_configuration"]) <= set(theirs["job_configuration"])
    for name, mine in ours["variables"]["properties"].items():
        one = theirs["variables"]["properties"].get(name)
        for key in ("type", "enum", "items", "allOf", "format", "additionalProperties"):
            assert one is None or mine.get(key) == one.get(key), (name, key)


def test_that_of_processes_is_that_of_a_pool_that_perdure_makes() -> None:
    assert _template("process") == pools.template()


@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_is_used_and_every_placeholder_known(kind: str) -> None:
    template = _template(kind)
    known = set(template["variables"]["properties"])
    assert _placeholders(template["job_configuration"]) == known


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_valid_and_the_command_is_fixed(kind: str) -> None:
    template = _template(kind)
    schema = copy.deepcopy(template["variables"])
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(_defaults(template), schema)
    command = f"python -P -m {job.MODULE}"
    configuration = template["job_configuration"]
    if kind == "kubernetes":
        (container,) = configuration["job_manifest"]["spec"]["template"]["spec"]["containers"]
        assert container["args"] == command.split()
        assert "env" not in configuration  # Prefect would add that of a run
    else:
        assert configuration["command"] == command


@pytest.mark.parametrize("kind", KINDS)
def test_prefects_server_takes_it_and_refuses_what_a_run_must_not_choose(
    configured: Server, kind: str
) -> None:
    with configured.client() as client:
        made = client.create_work_pool(
            WorkPoolCreate(name=f"of {kind}", type=kind, base_job_template=_template(kind))
        )
        there: WorkPool = client.read_work_pool(made.name)
        assert there.base_job_template == _template(kind)
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name("any"), name=kind, work_pool_name=made.name
        )
        client.create_flow_run_from_deployment(deployment, job_variables={"name": "harmless"})
        for name, value in {
            "command": "touch hit",
            "env": {"LD_PRELOAD": "hit.so"},
            "env.LD_PRELOAD": "hit.so",
            "image": "hit",
            "volumes": ["/:/host"],
            "service_account_name": "hit",
            "working_dir": "/",
        }.items():
            with pytest.raises(PrefectHTTPStatusError, match="422"):
                client.create_flow_run_from_deployment(deployment, job_variables={name: value})


def test_two_models_share_a_pool_of_containers_as_its_readme_says(configured: Server) -> None:
    template = _template("docker")
    properties = template["variables"]["properties"]
    ours, theirs = "https://example.com/a.git", "https://example.com/b.git"
    properties["git_remote"] = {"type": "string", "enum": [ours, theirs], "default": ours}
    environment = {"PERDURE_GIT_REMOTE": "{{ git_remote }}"}
    properties["env"] |= {"default": environment, "const": environment}

    async def made(**values: str) -> dict[str, str | None]:
        found: Any = await BaseJobConfiguration.from_template_and_values(template, values)
        return dict(found.env)

    with configured.client() as client:
        client.create_work_pool(
            WorkPoolCreate(name="two", type="docker", base_job_template=template)
        )
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name("any"), name="two", work_pool_name="two"
        )
        client.create_flow_run_from_deployment(deployment, job_variables={"git_remote": theirs})
        with pytest.raises(PrefectHTTPStatusError, match="422"):
            client.create_flow_run_from_deployment(deployment, job_variables={"git_remote": "hit"})
    assert asyncio.run(made(git_remote=theirs)) == {"PERDURE_GIT_REMOTE": theirs}


def test_a_process_is_what_prefects_worker_makes_of_it() -> None:
    template = _template("process")
    made = ProcessJobConfiguration.model_validate(
        _filled(template["job_configuration"], _defaults(template))
    )
    assert made.command == f"python -P -m {job.MODULE}"


def test_a_kubernetes_job_has_its_gpu_its_memory_and_no_rights() -> None:
    template = _template("kubernetes")
    variables = {**_defaults(template), "name": "retrain", "labels": {}, "gpus": 2}
    spec = _filled(template["job_configuration"], variables)["job_manifest"]["spec"]["template"][
        "spec"
    ]
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert "nodeSelector" not in spec  # the GPU that it asks for chooses the node
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    volumes = {one["name"]: one for one in spec["volumes"]}
    mounts = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert container["envFrom"] == [{"secretRef": {"name": "perdure", "optional": True}}]
    # A volume that is mounted belongs to root, and git refuses to work in somebody else's folder.
    assert mounts["/workspace"] == {"name": "workspace", "emptyDir": {}}
    image = (DEPLOY / "Dockerfile").read_text()
    safe = re.findall(r"git config --system --add safe\.directory (\S+)", image)
    assert safe == ["/workspace"]
    assert "PERDURE_WORKSPACE=/workspace" in image


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_it_or_needed(kind: str) -> None:
    assert "prefect.blocks" not in json.dumps(_template(kind))
    assert not SECRET.search(" ".join(_defaults(_template(kind)).get("env", {})))


# Prefect resolves the blocks with a client of its own, which it leaves open when the loop ends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_secrets_of_the_readme_are_resolved(configured: Server) -> None:
    """Those of a Docker pool, named as its README says."""
    from prefect.blocks.system import Secret
    from prefect.variables import Variable

    (text,) = re.findall(r"```json\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    named = json.loads(f"{{{text}}}")
    assert len(named) == 4
    blocks = re.findall(r"prefect\.blocks\.secret\.([a-z-]+)", text)
    template = _template("docker")
    environment = template["variables"]["properties"]["env"]
    environment["default"] = environment["const"] = environment["default"] | named

    async def made() -> dict[str, str | None]:
        for name in blocks:
            await Secret(value=SecretStr(f"of {name}")).asave(name)
        await Variable.aset("perdure_git_remote", "https://example.com/a.git")
        found: Any = await BaseJobConfiguration.from_template_and_values(template, {})
        return dict(found.env)

    found = asyncio.run(made())
    assert {name: found[name] for name in named} == {
        name: f"of {block}" for name, block in zip(named, blocks, strict=True)
    }
    assert found["PERDURE_GIT_REMOTE"] == "https://example.com/a.git"


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
    run("git", "init", "--quiet", "-b", "main", str(source))
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
        result = run(str(DEPLOY / "entrypoint.sh"), "sh", "-c", "pwd; cat perdure.toml", **place)
        assert result == f"{tmp_path / 'workspace' / 'model'}\n{number}"


def test_the_entrypoint_takes_a_key_for_ssh_and_says_what_an_empty_clone_is(tmp_path: Path) -> None:
    remote, home, programs = tmp_path / "remote.git", tmp_path / "home", tmp_path / "bin"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(remote)], check=True)
    home.mkdir()
    programs.mkdir()
    ssh = programs / "ssh"  # keeps its arguments, and runs the command here
    ssh.write_text(
        '#!/bin/sh\necho "$@" >"$HOME/asked"\nfor last; do :; done\nexec sh -c "$last"\n'
    )
    ssh.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "PERDURE_WORKSPACE": str(tmp_path / "workspace"),
        "PERDURE_GIT_REMOTE": f"ssh://git@git.example.com{remote}",
        "PERDURE_GIT_SSH_KEY": "a key",
        "PERDURE_GIT_SSH_HOSTS": "git.example.com ssh-ed25519 AAAA",
    }
    ended = subprocess.run(
        [str(DEPLOY / "entrypoint.sh"), "true"], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "the default branch of PERDURE_GIT_REMOTE has no commit" in ended.stderr
    key, hosts = home / ".ssh" / "perdure", home / ".ssh" / "perdure_hosts"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("a key\n", 0o600)
    assert hosts.read_text() == "git.example.com ssh-ed25519 AAAA\n"
    asked = (home / "asked").read_text()
    assert f"-i {key}" in asked
    assert f"UserKnownHostsFile={hosts}" in asked
    assert "StrictHostKeyChecking=yes" in asked
