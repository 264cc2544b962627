"""Three machines and the servers of a team: PostgreSQL, an object store, and passwords.

MLflow and Prefect keep what they know in PostgreSQL, and ask for a password; files of versions and
data lie in S3. One clone ingests, another learns, a third goes back, and the servers are started
anew in between. And a workspace of one machine moves there, by the commands of docs/scale-out.md.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from perdure import config
from perdure.flows.retrain import retrain
from perdure.tasks import data_versions
from tests.docs import pages
from tests.promises import kit
from tests.service.conftest import end, until
from tests.service.object_store import environment, serve
from tests.tasks.server_kit import PASSWORD, passwords
from tests.tasks.server_kit import Server as MlflowServer
from tests.tasks.version_kit import free_port

PROGRAMS = next((p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
"""Where Debian keeps PostgreSQL's programs."""
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not here: apt install postgresql"),
    pytest.mark.timeout(900),  # nine processes, where others use the processor, too
]
BUCKET = "team"


class Database:
    """PostgreSQL in a folder, reached by a socket in it."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAMS is not None
        self.folder = folder
        folder.mkdir()
        self.user = None
        if os.geteuid() == 0:  # it refuses to run as root
            self.user = "postgres"
            shutil.chown(folder, self.user, self.user)
            for above in folder.parents:
                above.chmod(above.stat().st_mode | 0o011)
        self.run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust")
        self.run("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o",
                 f"-k {folder} -c listen_addresses=''", "start")  # fmt: skip

    def run(self, program: str, *arguments: str) -> None:
        assert PROGRAMS is not None
        subprocess.run(
            [str(PROGRAMS / program), *arguments],
            user=self.user,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def create(self, name: str) -> None:
        self.run("createdb", "-h", str(self.folder), "-U", "postgres", name)

    def uri(self, name: str, driver: str) -> str:
        return f"postgresql+{driver}://postgres@/{name}?host={self.folder}"

    def stop(self) -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")


@dataclass
class Team:
    """The servers, and the environment that finds them."""

    folder: Path
    database: Database
    mlflow: MlflowServer | None = None
    prefect: subprocess.Popen[bytes] | None = None
    ports: tuple[int, int] = (0, 0)

    def start(self) -> None:
        self.ports = self.ports if all(self.ports) else (free_port(), free_port())
        self.mlflow = MlflowServer(
            self.folder,
            self.ports[0],
            ("--app-name", "basic-auth"),
            self.database.uri("mlflow", "psycopg2"),
            f"s3://{BUCKET}/mlflow",
        )
        program = [sys.executable, "-m", "prefect", "server", "start", "--port", str(self.ports[1])]
        with (self.folder / "prefect.log").open("ab") as log:
            self.prefect = subprocess.Popen(
                program,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "PREFECT_API_DATABASE_CONNECTION_URL": self.database.uri("prefect", "asyncpg"),
                    "PREFECT_SERVER_API_AUTH_STRING": f"admin:{PASSWORD}",
                },
            )
        self.mlflow.wait()
        until(self.answers, 300)

    def answers(self) -> bool:
        """Whether Prefect does, and asks for the password."""
        address = f"http://127.0.0.1:{self.ports[1]}/api/admin/version"
        try:
            without = httpx.get(address).status_code
            return (without, httpx.get(address, auth=("admin", PASSWORD)).status_code) == (401, 200)
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.mlflow is not None:
            self.mlflow.stop()
        if self.prefect is not None:
            end(self.prefect)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "PREFECT_API_URL": f"http://127.0.0.1:{self.ports[1]}/api",
            "PREFECT_API_AUTH_STRING": f"admin:{PASSWORD}",
            "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        }

    def perdure(self, root: Path, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "perdure", *arguments, "-w", str(root), "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    server = serve()
    for name, value in environment(server, tmp_path).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


@pytest.fixture
def team(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    database = Database(tmp_path / "postgres")
    found = Team(tmp_path, database)
    try:
        for name in ("mlflow", "passwords", "prefect"):
            database.create(name)
        for name, value in passwords(tmp_path, database.uri("passwords", "psycopg2")).items():
            monkeypatch.setenv(name, value)
        found.start()
        yield found
    finally:
        found.stop()
        database.stop()


def published(team: Team) -> Path:
    """A workspace with one experience, its data in S3, its history in a git remote."""
    assert team.mlflow is not None
    bare, root = team.folder / "shared.git", team.folder / "a"
    kit.git(team.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    root.mkdir()
    kit.git(root, "init", "--quiet", "--initial-branch=main")
    kit.git(root, "remote", "add", "origin", str(bare))
    kit.make(root)
    data_versions.init(root, f"s3://{BUCKET}/data")
    data_versions.add_and_push(config.read(root))
    shared = f'\n[tracking]\nuri = "{team.mlflow.uri}"\n[shared]\ngit_remote = "origin"\n'
    kit.configure(root, more=shared)
    kit.git(root, "push", "--quiet", "--set-upstream", "origin", "main")
    return root


def clone(team: Team, name: str) -> Path:
    kit.git(team.folder, "clone", "--quiet", str(team.folder / "shared.git"), name)
    return team.folder / name


def stored(store: Any, prefix: str) -> list[str]:
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [one["Key"] for page in pages for one in page.get("Contents", ())]


def test_ingest_here_learn_there_and_go_back_elsewhere(team: Team, store: Any) -> None:
    first = published(team)
    second, third = clone(team, "b"), clone(team, "c")
    assert [one["verdict"] for one in team.perdure(second, "retrain")["learned"]] == ["passed"]
    kit.arrive(first, "2.csv", kit.table(2))
    assert team.perdure(first, "ingest")["files"][0]["outcome"] == "ingested"
    learned = team.perdure(second, "retrain")
    assert (learned["champion"], len(learned["learned"])) == (2, 1)
    team.stop()
    team.start()
    assert team.perdure(third, "rollback", "--reason", "complaints")["version"] == 1
    status = team.perdure(first, "status")
    assert status["champion"]["version"] == 1
    assert [one["id"] for one in status["held"]] == [learned["learned"][0]["experience"]]
    assert [key for key in stored(store, "mlflow/") if key.endswith("model.pt2")]
    assert stored(store, "data/files/md5/")
    assert not (second / ".perdure" / "mlflow.db").exists()
    assert not (second / ".perdure" / "prefect.db").exists(), "the runs are on the server"


class Page:
    """The commands of docs/scale-out.md, with addresses of this machine in place of its own."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.ports = free_port(), free_port()
        self.folder = folder
        self.names = {
            "servers.example.com:5000": f"127.0.0.1:{self.ports[0]}",
            "servers.example.com:4200": f"127.0.0.1:{self.ports[1]}",
            "--host 0.0.0.0 --port 5000": f"--host 127.0.0.1 --port {self.ports[0]}",
            "--host 0.0.0.0 --port 4200": f"--host 127.0.0.1 --port {self.ports[1]}",
            "ssh://git@servers.example.com/srv/git/weather.git": str(folder / "weather.git"),
            "/srv/git/weather.git": str(folder / "weather.git"),
            "/mnt/backups": str(folder / "backups"),
            "/var/run/postgresql": str(database.folder),
            "a-long-password": PASSWORD,
        }
        assert PROGRAMS is not None
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), str(PROGRAMS), os.environ["PATH"]]
            ),
            "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
            "PGHOST": str(database.folder),
            "PGUSER": "postgres",
            **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "test@localhost" for who in ("AUTHOR", "COMMITTER")},
            # Else it starts a dozen processes, for what nobody asks of it here.
            "MLFLOW_WORKERS": "1",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self.who = self.blocks("1. On every machine", "sh")[1]

    def blocks(self, heading: str, language: str) -> list[str]:
        """The blocks of a section."""
        part = pages.after(f"\n## {heading}\n", pages.text("scale-out.md")).partition("\n## ")[0]
        found = list(pages.blocks(part, language))
        assert found
        for number, block in enumerate(found):
            for name, here in self.names.items():
                block = block.replace(name, here)
            assert "example.com" not in block
            found[number] = block
        return found

    def run(self, block: str, place: Path) -> str:
        """Run a block as a person would; each command must end well."""
        done = subprocess.run(
            ["bash", "-e", "-c", self.who + block],
            cwd=place,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, block: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                ["bash", "-e", "-c", block],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def status(self, path: str) -> int:
        """What a server answers whom it does not know; 0: nothing yet."""
        try:
            return httpx.get(f"http://127.0.0.1:{path}", timeout=30).status_code
        except httpx.HTTPError:
            return 0

    def serve(self) -> list[subprocess.Popen[bytes]]:
        """Step 2."""
        databases, mlflow, prefect, bare = self.blocks("2. The servers", "sh")
        [settings] = self.blocks("2. The servers", "ini")
        (self.folder / "auth.ini").write_text(settings, encoding="utf-8")
        self.run(databases, self.folder)
        self.run(bare, self.folder)
        started = [
            self.start(mlflow, self.folder / "mlflow.log"),
            self.start(prefect, self.folder / "prefect.log"),
        ]
        search = f"{self.ports[0]}/api/2.0/mlflow/experiments/search"
        until(lambda: self.status(search) == 401, 300)
        until(lambda: self.status(f"{self.ports[1]}/api/admin/version") == 401, 300)
        return started


def local(folder: Path) -> Path:
    """A workspace as `init` makes one: two versions, and an experience that is pending."""
    root = folder / "old" / "weather"
    root.mkdir(parents=True)
    kit.git(root, "init", "--quiet", "--initial-branch=main")
    kit.make(root)
    kit.ingest(root, kit.table(2))
    assert len(retrain.fn(str(root)).learned) == 2
    kit.ingest(root, kit.table(3))
    return root


@pytest.mark.timeout(1800)  # some thirty commands, each a process that imports everything
def test_a_workspace_moves_to_the_servers_as_the_page_says(store: Any, tmp_path: Path) -> None:
    database = Database(tmp_path / "postgres")
    servers: list[subprocess.Popen[bytes]] = []
    page = Page(tmp_path, database)
    try:
        servers = page.serve()
        root = local(tmp_path)
        moved, checked = page.blocks("3. The workspace moves", "sh")
        [tracking] = page.blocks("3. The workspace moves", "toml")
        result = page.run(moved, root)
        assert result.count("would be copied; nothing was changed.") == 1
        assert "Copied and compared: 2 versions" in result
        assert f'uri = "http://127.0.0.1:{page.ports[0]}"' in result
        with (root / "perdure.toml").open("a", encoding="utf-8") as file:
            file.write("\n" + tracking)
        page.run(checked, root)

        [there] = page.blocks("4. Another clone", "sh")
        (tmp_path / "new").mkdir()
        page.run(there, tmp_path / "new")
        second = tmp_path / "new" / "weather"
        for place in (root, second):
            now = json.loads(page.run("perdure status --json", place))
            assert (now["champion"]["version"], now["experiences"], now["pending"]) == (3, 3, [])
        page.run("perdure verify", second)
        page.run("perdure rollback --to 1 --reason complaints", second)
        assert json.loads(page.run("perdure status --json", root))["champion"]["version"] == 1
        assert not (second / ".perdure" / "mlflow.db").exists()
        assert [key for key in stored(store, "mlflow/") if key.endswith("model.pt2")]
        assert stored(store, "data/files/md5/")
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)
        database.stop()
