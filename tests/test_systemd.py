"""The systemd units of `deploy/` are such that systemd takes, and say what the commands promise."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.service import worker

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = {"perdure.service": ["up"], "perdure-worker.service": ["worker", "--pool", "gpu"]}


def unit(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True)
    found.optionxform = str  # type: ignore[assignment,method-assign]  # names as they are written
    found.read_string((DEPLOY / name).read_text())
    return found


def test_there_are_no_others() -> None:
    assert {path.name for path in DEPLOY.glob("*.service")} == set(UNITS)


@pytest.mark.parametrize("name", UNITS)
def test_it_says_what_a_machine_left_alone_needs(name: str) -> None:
    found = unit(name)
    service = found["Service"]
    assert set(found.sections()) == {"Unit", "Service", "Install"}
    assert service["ExecStart"].split()[1:] == UNITS[name]
    # Killed, or with an exit code (5: a server is away), it is started again; `perdure down`
    # ends it well (test_hands_off.py), which systemd must not undo.
    assert service["Restart"] == "on-failure"
    assert not {"SuccessExitStatus", "RestartPreventExitStatus"} & set(service)
    assert found["Unit"]["StartLimitIntervalSec"] == "0"
    # It ends its own within 10 s, and is asked first; then systemd kills what is left.
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 10 > worker.GOODBYE_S + worker.TELL_S + worker.STOP_S
    assert int(service["Nice"]) >= 0
    assert service["EnvironmentFile"].lstrip("-").startswith("/etc/")
    assert found["Install"]["WantedBy"] == "multi-user.target"
    # No secret stands in the unit, which everybody may read.
    assert service["Environment"].startswith("PATH=")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize(("change", "fine"), [("", True), ("Restart=whenever\n", False)])
def test_systemd_takes_it(tmp_path: Path, name: str, change: str, fine: bool) -> None:
    """With a user and a program that are on this machine."""
    text = (DEPLOY / name).read_text()
    for old, new in (
        ("/opt/perdure/bin/perdure", sys.executable),
        ("User=perdure", "User=root"),
        ("Restart=on-failure\n", f"Restart=on-failure\n{change}"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "perdure-weather.service"
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "perdure" in line]
    assert (ours == []) == fine, done.stderr
    if fine:
        assert done.returncode == 0, done.stderr
