"""A registry moves to another MLflow: everything is there, and the workspace goes on from it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import config
from perdure.errors import Corrupt, Fault, LockHeld, UsageError
from perdure.flows import status
from perdure.flows.migrate import migrate
from perdure.flows.prune import prune
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.flows.verify import verify
from perdure.tasks import locks
from perdure.tasks.registry import Registry, codec
from perdure.tasks.registry.client import Client
from tests.promises import kit
from tests.tasks.server_kit import Server

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    found.wait()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1, 3 to 5: 2 and 6 were removed, 4 was refused; it was rolled back once."""
    root = kit.make(tmp_path_factory.mktemp("migrated") / "workspace")
    kit.ingest(root, kit.table(2), kit.table(3))
    retrain.fn(str(root))
    kit.configure(root, past="0.2")
    kit.ingest(root, kit.turned(4, 240))
    retrain.fn(str(root))
    kit.configure(root)
    kit.ingest(root, kit.table(5), kit.table(6))
    retrain.fn(str(root))
    rollback.fn(str(root), to=5, reason="complaints")
    registry = kit.registry(root)
    registry.remove({2: "old", 6: "abandoned"}, "prune", "a person")
    assert [one.version for one in registry.versions()] == [1, 3, 4, 5]
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "workspace", symlinks=True))


def use(root: Path, uri: str) -> None:
    """Do what the command says at the end."""
    path = root / "perdure.toml"
    path.write_text(path.read_text() + f'\n[tracking]\nuri = "{uri}"\n')
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: tracking.uri")


def dump(root: Path) -> list[str]:
    """Everything in the source's database."""
    with sqlite3.connect(root / ".perdure" / "mlflow.db") as database:
        return list(database.iterdump())


def runs_of(client: Client, name: str) -> dict[str, Any]:
    """What is in each run of an experiment, without ids."""
    experiment = client.call("get_experiment_by_name", name)
    found = {}
    for run in client.call("search_runs", [experiment.experiment_id], max_results=1000):
        history = {
            key: sorted(
                (m.step, m.timestamp, repr(m.value))
                for m in client.call("get_metric_history", run.info.run_id, key)
            )
            for key in run.data.metrics
        }
        tags = {k: v for k, v in run.data.tags.items() if k != codec.PREFIX + "copy_of"}
        files = client.fluent("list_artifacts", run.info.run_id)
        key = f"{run.info.start_time} {run.info.run_name}"
        assert key not in found
        found[key] = (
            tags, run.data.params, history, run.info.status, run.info.end_time,
            sorted(one.path for one in files if one.path != "model"),
        )  # fmt: skip
    return found


def test_a_model_moves_to_a_server_and_goes_on(root: Path, server: Server) -> None:
    old = kit.registry(root)
    assert len(old.versions()) == 4  # and its addresses are those of this folder from here on
    before = dump(root)
    shown = migrate(str(root), server.uri)
    assert (shown.done, shown.versions, shown.champion, shown.goes_on) == (False, 4, 5, False)
    there = Client(server.uri)
    assert there.call("search_registered_models") == []
    assert there.call("get_experiment_by_name", kit.MODEL) is None

    done = migrate(str(root), server.uri, yes=True)
    assert done.done
    assert done.setting == f'uri = "{server.uri}"'
    assert dump(root) == before
    assert "tracking" not in (root / "perdure.toml").read_text()
    for name in (kit.MODEL, f"{kit.MODEL}/history"):
        assert runs_of(there, name) == runs_of(old.client, name) != {}
    [life] = [
        run for key, run in runs_of(there, kit.MODEL).items() if key.endswith("life of small")
    ]
    assert max(len(points) for points in life[2].values()) == 6

    history, versions = old.history(), old.versions()
    use(root, server.uri)
    new = kit.registry(root)
    assert new.history() == history
    assert [one.created_at for one in new.versions()] == [one.created_at for one in versions]
    assert [one.learning_key for one in new.versions()] == [one.learning_key for one in versions]
    assert new.aliases() == old.aliases()
    for one in new.versions():
        assert all(check.ok for check in verify(str(root), one.version).checks)
    with pytest.raises(UsageError, match=r"version 6 was removed on .* by prune"):
        new.version(6)
    assert status.status(str(root))["champion"]["version"] == 5

    rollback.fn(str(root), to=3, reason="as before")
    assert new.aliases()["champion"] == 3
    kit.ingest(root, kit.table(7))
    [learned] = retrain.fn(str(root)).learned
    assert learned.version == 7  # 6 was given once
    assert new.version(7).parent == 3
    assert prune(str(root), keep=1, keep_days=0, yes=True).left == ()
    # What was copied once is not copied over what came since.
    path = root / "perdure.toml"
    path.write_text(path.read_text().replace(f'uri = "{server.uri}"', ""))
    with pytest.raises(UsageError, match="has the whole copy of the model small already"):
        migrate(str(root), server.uri, yes=True)
    assert new.aliases()["champion"] == 7


def test_the_copy_learns_the_same_bits(root: Path, tmp_path: Path) -> None:
    """From a file to another: what is learned next is what the original would have learned."""
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    migrate(str(root), uri, yes=True)
    twin = Path(shutil.copytree(root, tmp_path / "twin", symlinks=True))
    use(twin, uri)
    for one in (root, twin):
        kit.ingest(one, kit.table(8))
        retrain.fn(str(one))
    last = [kit.registry(one).versions()[-1] for one in (root, twin)]
    assert last[0].version == last[1].version == 7
    assert last[0].weights_sha256 == last[1].weights_sha256
    assert last[0].learning_key == last[1].learning_key


def test_a_model_moves_to_another_file_and_into_another_workspace(
    root: Path, tmp_path: Path
) -> None:
    old = kit.registry(root)
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    migrate(str(root), uri, yes=True)
    without = shutil.ignore_patterns("mlflow.db*")
    twin = Path(shutil.copytree(root, tmp_path / "twin", symlinks=True, ignore=without))
    use(twin, uri)
    own = twin / ".perdure" / "mlflow.db"
    assert migrate(str(twin), f"sqlite:///{own}", yes=True).setting is None
    path = twin / "perdure.toml"
    path.write_text(path.read_text().replace(f'uri = "{uri}"', ""))
    new = kit.registry(twin)
    times = [one.created_at for one in old.versions()]
    assert [one.created_at for one in new.versions()] == times
    assert new.history() == old.history()
    assert all(check.ok for check in verify(str(twin), 5).checks)


def test_mlflow_loads_a_version_of_the_copy(root: Path, tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    uri = f"sqlite:///{tmp_path / 'other.db'}"
    migrate(str(root), uri, yes=True)
    shutil.rmtree(root / ".perdure" / "mlflow.db", ignore_errors=True)
    (root / ".perdure" / "mlflow.db").unlink()
    client = Client(uri)
    with client.current():
        model = mlflow.pyfunc.load_model(f"models:/{kit.MODEL}@champion")
        frame = pd.DataFrame({"a": [2.0, -2.0], "b": [1.0, -1.0], "colour": ["red", "green"]})
        assert len(model.predict(frame)) == 2


WRITES = ("create_", "set_", "log_", "delete_", "finalize_", "update_")
_KILLED = f"""
import os, signal, sys
from perdure.flows.migrate import migrate
from perdure.tasks.registry.client import Client
calls, usual = 0, Client.call
def counted(self, name, *args, **kwargs):
    global calls
    if self.uri == sys.argv[2] and name.startswith({WRITES!r}):
        calls += 1
        if calls == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    return usual(self, name, *args, **kwargs)
Client.call = counted
migrate(sys.argv[1], sys.argv[2], yes=True)
"""


def killed(root: Path, uri: str, at: int) -> None:
    """A process that is killed before its write number `at` to the target."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    command = [sys.executable, "-c", _KILLED, str(root), uri, str(at)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


class Cut(BaseException):
    """The process ends here."""


class Writes:
    """Counts the writes to a target, and ends before the one with a number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
        self.count, self.last = 0, 0
        usual = Client.call

        def call(client: Client, name: str, *args: Any, **kwargs: Any) -> Any:
            if client.uri == uri and name.startswith(WRITES):
                self.count += 1
                if self.count == self.last:
                    raise Cut
            return usual(client, name, *args, **kwargs)

        monkeypatch.setattr(Client, "call", call)

    def end_at(self, number: int) -> None:
        self.count, self.last = 0, number


def at(root: Path, uri: str) -> Registry:
    """What a workspace would see that names this registry."""
    now = config.read(root).config
    tracking = now.tracking.model_copy(update={"uri": uri})
    return Registry(config.Workspace(root, now.model_copy(update={"tracking": tracking})))


def is_whole(root: Path, uri: str, numbers: list[int]) -> None:
    old, new = kit.registry(root), at(root, uri)
    for name in (kit.MODEL, f"{kit.MODEL}/history"):
        assert runs_of(new.client, name) == runs_of(old.client, name) != {}
    assert new.aliases() == old.aliases()
    assert new.history() == old.history()
    found = list(new.client.call("search_model_versions", f"name = '{kit.MODEL}'"))
    assert sorted(int(one.version) for one in found) == numbers
    ids = {one.source.removeprefix("models:/") for one in found}
    experiment = new.client.call("get_experiment_by_name", kit.MODEL).experiment_id
    models = new.client.call("search_logged_models", [experiment])
    assert {one.model_id for one in models} == ids
    new.read()


@pytest.mark.timeout(900)  # four processes that import everything, where others use the processor
def test_killed_anywhere_it_goes_on(root: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    killed(root, uri, 2)
    for number in (60, 40):
        # Nobody takes it for a registry meanwhile.
        with pytest.raises(Fault, match="is an unfinished copy"):
            at(root, uri).read()
        killed(root, uri, number)
    assert migrate(str(root), uri).goes_on
    assert migrate(str(root), uri, yes=True).goes_on
    is_whole(root, uri, [1, 3, 4, 5])


@pytest.mark.timeout(900)
def test_ended_at_every_seventh_write_it_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near the end at each: there are numbers, placeholders, aliases and the mark."""
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    writes = Writes(monkeypatch, uri)
    rounds = 0
    while True:
        writes.end_at(25 if rounds < 3 else 7)
        rounds += 1
        assert rounds < 60
        try:
            migrate(str(root), uri, yes=True)
        except Cut:
            continue
        break
    assert rounds > 8
    is_whole(root, uri, [1, 3, 4, 5])


@pytest.mark.timeout(900)
def test_what_came_meanwhile_is_in_the_copy(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended, and the source goes on for a day: the copy is of the source as it is then."""
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    writes = Writes(monkeypatch, f"sqlite:///{tmp_path / 'whole.db'}")
    migrate(str(root), f"sqlite:///{tmp_path / 'whole.db'}", yes=True)
    before_last = writes.count - 1
    Writes(monkeypatch, uri).end_at(before_last)
    with pytest.raises(Cut):
        migrate(str(root), uri, yes=True)
    kit.ingest(root, kit.table(9))
    retrain.fn(str(root))
    old = kit.registry(root)
    assert old.remove({4: "old"}, "prune", "a person").left == {}
    assert migrate(str(root), uri, yes=True).done
    is_whole(root, uri, [1, 3, 5, 7])
    use(root, uri)
    assert [one.version for one in kit.registry(root).versions()] == [1, 3, 5, 7]


def test_what_is_refused(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    uri = f"sqlite:///{path}"
    with pytest.raises(UsageError, match="is no address of MLflow"):
        migrate(str(root), "other.db")
    with pytest.raises(UsageError, match="is where the registry of small is"):
        migrate(str(root), f"sqlite:///{root / '.perdure' / 'mlflow.db'}")
    migrate(str(root), uri)
    assert not path.exists()
    with locks.hold(config.read(root), "model", "retrain"), pytest.raises(LockHeld):
        migrate(str(root), uri, yes=True)
    there = Client(uri)
    experiment = there.call("create_experiment", kit.MODEL)
    run = there.call("create_run", experiment)
    with pytest.raises(UsageError, match="has an experiment small already, with runs"):
        migrate(str(root), uri, yes=True)
    there.call("delete_run", run.info.run_id)
    there.call("create_registered_model", kit.MODEL)
    with pytest.raises(UsageError, match="has a model small already; nothing was copied"):
        migrate(str(root), uri, yes=True)
    assert there.call("search_runs", [experiment]) == []


def test_a_damaged_version_is_not_copied(root: Path, tmp_path: Path) -> None:
    folder = kit.registry(root).download(kit.registry(root).version(5))
    file = folder / "serving.json"
    file.chmod(0o644)
    file.write_text(file.read_text().replace("red", "rot"))
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    with pytest.raises(Corrupt, match=r"serving\.json"):
        migrate(str(root), uri, yes=True)
    assert Client(uri).call("search_model_versions", f"name = '{kit.MODEL}'") == []
