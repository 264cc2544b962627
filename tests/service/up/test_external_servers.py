"""What the user has configured is used instead of a part of our own."""

from __future__ import annotations

import logging
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from perdure import config
from perdure.errors import Unreachable
from perdure.service import control, external_servers, up
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli  # the fixture
from tests.promises import kit
from tests.service.up import programs
from tests.service.up.conftest import closed_port, eventually

CONFIG = '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "perdure.toml").write_text(CONFIG)
    return tmp_path


def planned(root: Path) -> tuple[list[str], str]:
    found = up.plan(config.read(root)).parts
    (api,) = {part.environment["PREFECT_API_URL"] for part in found}
    return [part.name for part in found], api


def test_where_nothing_is_configured_everything_is_ours(root: Path) -> None:
    names, api = planned(root)
    assert names == ["server", "mlflow", "deploy", "watcher", "worker"]
    assert api.startswith("http://127.0.0.1:")
    found = up.plan(config.read(root))
    assert found.external == ()
    needy = {part.name for part in found.parts if part.needs}
    assert needy == {"deploy", "watcher", "worker"}
    # Ended before the server, they do not wait for an answer of another part.
    assert {name for part in found.parts for name in part.needs} == {"server"}


def test_the_variable_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://me:secret@prefect.example/api")
    names, api = planned(root)
    assert names == ["mlflow", "deploy", "watcher", "worker"]
    assert api == "https://me:secret@prefect.example/api"
    found = up.plan(config.read(root))
    assert found.record.prefect_page == "https://prefect.example"
    assert "secret" not in f"{found.record} {found.external[0].shown}"
    assert all(part.needs == () for part in found.parts)


def test_a_profile_is_used_as_prefect_reads_it(root: Path) -> None:
    (root / "home" / "profiles.toml").write_text(
        'active = "two"\n[profiles.one]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n'
        '[profiles.two]\nPREFECT_API_URL = "http://127.0.0.1:2/api"\n'
    )
    names = ["mlflow", "deploy", "watcher", "worker"]
    assert planned(root) == (names, "http://127.0.0.1:2/api")


def test_a_file_of_prefect_counts_where_it_names_a_server(root: Path) -> None:
    (root / "prefect.toml").write_text("[logging]\nlevel = 'INFO'\n")
    assert external_servers.prefect(root) is None
    (root / "prefect.toml").write_text("[api]\nurl = 'http://127.0.0.1:3/api'\n")
    found = external_servers.prefect(root)
    assert found is not None
    assert found.address == "http://127.0.0.1:3/api"


def test_an_mlflow_server_is_used(root: Path) -> None:
    (root / "perdure.toml").write_text(f'{CONFIG}[tracking]\nuri = "http://127.0.0.1:5000"\n')
    found = up.plan(config.read(root))
    assert [part.name for part in found.parts] == ["server", "deploy", "watcher", "worker"]
    assert found.record.mlflow == "http://127.0.0.1:5000"


def test_a_workspace_that_learns_on_gpus_has_a_worker_for_them(root: Path) -> None:
    (root / "perdure.toml").write_text(f'{CONFIG}[resources]\npool = "gpu"\n')
    names = ["server", "mlflow", "deploy", "watcher", "worker", "worker-gpu"]
    assert planned(root)[0] == names


def test_a_server_that_is_away_is_said_before_anything_is_started(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "perdure")
    before = list(logging.getLogger("perdure").handlers)
    port = closed_port()
    monkeypatch.setenv("PREFECT_API_URL", f"http://ada:s3cret@127.0.0.1:{port}/api")
    [server] = up.plan(config.read(root)).external
    with subprocess.Popen(programs.served(port), stdin=subprocess.PIPE) as there:
        eventually(lambda: _connects(port))
        server.ask()
        there.kill()
    with pytest.raises(
        Unreachable, match=r"Prefect at .* does not answer: Connection refused"
    ) as no:
        server.ask()
    assert "s3cret" not in str(no.value)
    with pytest.raises(Unreachable):
        up.run(root, lambda _: pytest.fail("it cannot be ready"))
    # Nothing was started, and what became of it is in the log that people are sent to.
    assert list((root / ".perdure" / "up" / "logs").iterdir()) == [
        root / ".perdure" / "up" / "logs" / "up.log"
    ]
    assert logging.getLogger("perdure").handlers == before
    [result] = control.logs(root, "up", 20)
    assert any("Prefect is used, as configured: http://127" in line for line in result.lines)
    assert any("does not answer: Connection refused" in line for line in result.lines)
    assert not any("s3cret" in line for line in result.lines)


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("listens", [True, False])
def test_status_shows_everything_and_says_that_prefect_does_not_answer(
    listens: bool, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and never answers, and one to which no connection comes about."""
    root = kit.make(tmp_path / "workspace")
    assert cli("status", "-w", root, "--json").code == 0
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        address = silent.getsockname()
        with ExitStack() as waiting:
            while not listens:  # until its queue is full: what comes now is dropped
                one = waiting.enter_context(socket.socket())
                one.settimeout(0.3)
                try:
                    one.connect(address)
                except TimeoutError:
                    break
            monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{address[1]}/api")
            result = cli("status", "-w", root, "--json")
    assert result.code == 5
    assert f"Prefect at http://127.0.0.1:{address[1]}/api does not answer: timed out" in result.err
    assert result.json["experiences"] == 1


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_a_server_behind_a_proxy_is_not_asked_for(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the proxy could tell."""
    outer = external_servers.Server("Prefect", "http://prefect.invalid/api", "")
    with pytest.raises(Unreachable):
        outer.ask()
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    outer.ask()
    monkeypatch.setenv("no_proxy", "prefect.invalid")
    with pytest.raises(Unreachable):
        outer.ask()
