"""What the user has configured is used instead of a part of our own."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

import pytest

from perdure import config
from perdure.errors import ConfigError, Unreachable
from perdure.up import commands, outside
from perdure.up.parts import plan

CONFIG = '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "perdure.toml").write_text(CONFIG)
    return tmp_path


WARM = ["warm"] if sys.platform == "linux" else []


def planned(root: Path) -> tuple[list[str], str]:
    found = plan(config.read(root), root)
    return [part.name for part in found.parts], found.environment["PREFECT_API_URL"]


def test_where_nothing_is_configured_everything_is_ours(root: Path) -> None:
    names, api = planned(root)
    assert names == ["server", "mlflow", "deploy", "watcher", "worker", *WARM]
    assert api.startswith("http://127.0.0.1:")
    found = plan(config.read(root), root)
    assert found.remarks == ()
    needy = {part.name for part in found.parts if part.needs}
    assert needy == {"deploy", "watcher", "worker"}
    # Ended before the server they have somebody to tell, and need not wait for his answer.
    assert {name for part in found.parts for name in part.needs} == {"server"}


def test_the_variable_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://me:secret@prefect.example/api")
    found = plan(config.read(root), root)
    assert [part.name for part in found.parts] == ["mlflow", "deploy", "watcher", "worker", *WARM]
    assert found.environment["PREFECT_API_URL"] == "https://me:secret@prefect.example/api"
    assert found.prefect_page == "https://prefect.example"
    assert "secret" not in f"{found.prefect_api} {found.remarks}"
    assert all(part.needs == () for part in found.parts)


def test_a_profile_is_used_as_prefect_reads_it(root: Path) -> None:
    (root / "home" / "profiles.toml").write_text(
        'active = "two"\n[profiles.one]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n'
        '[profiles.two]\nPREFECT_API_URL = "http://127.0.0.1:2/api"\n'
    )
    names = ["mlflow", "deploy", "watcher", "worker", *WARM]
    assert planned(root) == (names, "http://127.0.0.1:2/api")


def test_a_file_of_prefect_s_that_says_nothing_of_it_is_none(root: Path) -> None:
    (root / "prefect.toml").write_text("[logging]\nlevel = 'INFO'\n")
    assert outside.prefect_api(root) is None
    (root / "prefect.toml").write_text("[api]\nurl = 'http://127.0.0.1:3/api'\n")
    assert outside.prefect_api(root) == "http://127.0.0.1:3/api"


def test_settings_that_prefect_cannot_read_are_a_fault_of_the_configuration(root: Path) -> None:
    (root / "home" / "profiles.toml").write_text("PREFECT_API_URL = [broken")
    with pytest.raises(ConfigError, match="Prefect's settings"):
        outside.prefect_api(root)


def test_an_mlflow_server_is_used(root: Path) -> None:
    (root / "perdure.toml").write_text(f'{CONFIG}[tracking]\nuri = "http://127.0.0.1:5000"\n')
    found = plan(config.read(root), root)
    assert [part.name for part in found.parts] == ["server", "deploy", "watcher", "worker", *WARM]
    assert found.mlflow == "http://127.0.0.1:5000"
    assert found.remarks == ("MLflow is the one of tracking.uri: http://127.0.0.1:5000",)


def test_a_workspace_that_learns_on_gpus_has_a_worker_for_them(root: Path) -> None:
    (root / "perdure.toml").write_text(f'{CONFIG}[resources]\npool = "gpu"\n')
    names = ["server", "mlflow", "deploy", "watcher", "worker", "worker-gpu", *WARM]
    assert planned(root)[0] == names


def test_a_server_that_is_away_is_said_before_anything_is_started(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "perdure")
    before = list(logging.getLogger("perdure").handlers)
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"http://ada:s3cret@127.0.0.1:{there.getsockname()[1]}"
        monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
        [server] = plan(config.read(root), root).elsewhere
        server.ask()
    with pytest.raises(
        Unreachable, match=r"Prefect at .* does not answer: Connection refused"
    ) as no:
        server.ask()
    assert "s3cret" not in str(no.value)
    with pytest.raises(Unreachable):
        commands.run(root, lambda _: pytest.fail("it cannot be ready"))
    # Nothing was started, and what became of it is in the log that people are sent to.
    assert list((root / ".perdure" / "up" / "logs").iterdir()) == [
        root / ".perdure" / "up" / "logs" / "up.log"
    ]
    assert logging.getLogger("perdure").handlers == before
    [said] = commands.logs(root, "up", 20)
    assert any("Prefect's server is the one that is configured" in line for line in said.lines)
    assert any("does not answer: Connection refused" in line for line in said.lines)
    assert not any("s3cret" in line for line in said.lines)


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_a_server_behind_a_proxy_is_not_asked_for(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the proxy could tell."""
    outer = outside.Server("Prefect", "http://prefect.invalid/api", "")
    with pytest.raises(Unreachable):
        outer.ask()
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    outer.ask()
    monkeypatch.setenv("no_proxy", "prefect.invalid")
    with pytest.raises(Unreachable):
        outer.ask()
