"""What every test of this repository stands on: nothing of the user's, nothing outside.

Git, DVC, MLflow and Prefect each read files and switches of the person who runs them. Here
they get empty ones in a temporary folder, before any of them is imported.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# The same examples every time, and none too slow: a test must not depend on the machine's load.
settings.register_profile(
    "perdure", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("perdure")

_HOME = Path(tempfile.mkdtemp(prefix="perdure-tests-"))
# Registered first, so done last: after the temporary servers have ended.
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

# At import, not in a fixture: Prefect and MLflow read their settings when they are imported,
# and test modules import them at their top. Subprocesses inherit all of it.
for _name in [n for n in os.environ if n.startswith(("PREFECT_", "MLFLOW_", "DVC_", "GIT_"))]:
    del os.environ[_name]
os.environ.update(
    HOME=str(_HOME),
    XDG_CONFIG_HOME=str(_HOME / "config"),
    XDG_CACHE_HOME=str(_HOME / "cache"),
    XDG_DATA_HOME=str(_HOME / "data"),
    # git: no file of the user's or the machine's, no questions. No name either: Perdure
    # works where git has none.
    GIT_CONFIG_GLOBAL=os.devnull,
    GIT_CONFIG_SYSTEM=os.devnull,
    GIT_CONFIG_NOSYSTEM="1",
    GIT_TERMINAL_PROMPT="0",
    # DVC: no configuration or site cache of the machine
    DVC_GLOBAL_CONFIG_DIR=str(_HOME / "dvc-global"),
    DVC_SYSTEM_CONFIG_DIR=str(_HOME / "dvc-system"),
    DVC_SITE_CACHE_DIR=str(_HOME / "dvc-site"),
    # Prefect: no profile. One home for the whole session, so that the schema of a temporary
    # server's database is migrated once (5 s) and copied ever after.
    PREFECT_HOME=str(_HOME / "prefect"),
    # one thread per library: as many test processes as there are cores
    OMP_NUM_THREADS="1",
    MPLBACKEND="Agg",
    MPLCONFIGDIR=str(_HOME / "matplotlib"),
)

if TYPE_CHECKING:
    from tests.promises.journey import Journey

import perdure  # noqa: E402, F401  (the telemetry switches, before the libraries)

LONGEST = (
    "tests/promises/test_3_kill_it_anywhere.py",
    "tests/service/test_worker.py",
    "tests/attacks/test_graphs.py",
    "tests/service/test_sharing.py",
    "tests/flows/test_shared_inputs.py",
    "tests/service/test_watch.py",
    "tests/service/up/test_hands_off.py",
    "tests/service/test_approvals.py",
    "tests/service/test_deployments.py",
    "tests/flows/test_arrival.py",
    "tests/test_demo.py",
    "tests/cli/test_json.py",
    "tests/service/test_two_workers.py",
    "tests/promises/test_2_stopping_changes_nothing.py",
    "tests/service/up/test_detach.py",
    "tests/cli/test_hints.py",
    "tests/service/test_two_machines.py",
    "tests/orchestration/test_engine.py",
    "tests/flows/test_forget.py",
    "tests/attacks/test_versions.py",
    "tests/flows/test_verify.py",
    "tests/flows/test_processes.py",
    "tests/strategies/test_data_parallel.py",
    "tests/attacks/test_mlmodel.py",
    "tests/cli/test_exit_codes.py",
    "tests/flows/test_reproduce.py",
    "tests/soak/test_crowd.py",
    "tests/flows/test_line.py",
    "tests/flows/test_models.py",
)
"""Files that take a minute and more where three tests run on two slow cores, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, and put the longest first: of two processes none has one left at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))
    for item in items:
        if item.nodeid.startswith(("tests/service/", "tests/orchestration/")):
            item.add_marker("service")
        if item.nodeid.partition("::")[0] in place:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test talks to anything but this machine; one that tries fails with the address."""
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to connect to {address!r}")
        connect(self, address)  # type: ignore[arg-type]  # whatever it was given

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """The real command, process by process, guarded; to be looked at only."""
    from tests.promises.journey import travel

    return travel(tmp_path_factory.mktemp("journey"))
