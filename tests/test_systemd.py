"""The systemd unit of `deploy/` is one that systemd takes, and says what `perdure up` promises."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "deploy" / "perdure.service"


def unit() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True)
    found.optionxform = str  # type: ignore[assignment,method-assign]  # names as they are written
    found.read_string(UNIT.read_text())
    return found


def test_it_says_what_a_machine_left_alone_needs() -> None:
    found = unit()
    service = found["Service"]
    assert set(found.sections()) == {"Unit", "Service", "Install"}
    assert service["ExecStart"].split()[1:] == ["up"]
    assert service["Restart"] == "always"
    assert found["Unit"]["StartLimitIntervalSec"] == "0"
    # perdure up ends its own within 10 s, and is asked first; then systemd kills what is left.
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 10
    assert int(service["Nice"]) >= 0
    assert service["EnvironmentFile"].startswith("-/")
    assert found["Install"]["WantedBy"] == "multi-user.target"
    # No secret stands in the unit, which everybody may read.
    assert service["Environment"].startswith("PATH=")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize(("change", "fine"), [("", True), ("Restart=whenever\n", False)])
def test_systemd_takes_it(tmp_path: Path, change: str, fine: bool) -> None:
    """With a user and a program that are on this machine."""
    text = UNIT.read_text()
    for old, new in (
        ("/opt/perdure/bin/perdure", sys.executable),
        ("User=perdure", "User=root"),
        ("Restart=always\n", f"Restart=always\n{change}"),
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
