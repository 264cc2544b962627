"""One table in the code; each code by a command that ends with it."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from perdure import config, disk, errors, exhausted
from perdure.errors import EXIT_CODES, PerdureError
from perdure.tasks import locks
from perdure.tasks.registry import client
from tests.cli.conftest import Cli
from tests.promises import kit


def family(error: type[PerdureError]) -> list[type[PerdureError]]:
    return [error, *(one for sub in error.__subclasses__() for one in family(sub))]


def test_every_error_has_a_code_of_the_table() -> None:
    ours = [one for one in family(PerdureError) if one.__module__.startswith("perdure.")]
    assert len(ours) >= 11
    assert {one.exit_code for one in ours} == set(EXIT_CODES) - {0}
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4, 5}
    assert errors.__doc__ is not None
    for one in ours:
        if one.__module__ == "perdure.errors" and one is not PerdureError:
            line = next(text for text in errors.__doc__.splitlines() if one.__name__ in text)
            assert f" {one.exit_code}  " in line


def test_0_done_and_nothing_to_do(cli: Cli, workspace: Path) -> None:
    result = cli("ingest", "-w", workspace)
    assert result.code == 0
    assert "nothing" in result.out


def test_1_a_fault(cli: Cli, workspace: Path) -> None:
    [file] = (workspace / "data" / "experiences").iterdir()
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-20])
    result = cli("status", "-w", workspace)
    assert result.code == 1
    assert result.err.startswith("Fault:")
    assert file.name in result.err
    assert "→" in result.err
    assert result.out == ""


def test_2_no_workspace(cli: Cli, tmp_path: Path) -> None:
    result = cli("status", "-w", tmp_path)
    assert result.code == 2
    assert "perdure.toml" in result.err
    assert "perdure init" in result.err


def test_2_wrong_configuration_with_every_fault_and_its_key(cli: Cli, workspace: Path) -> None:
    path = workspace / "perdure.toml"
    text = path.read_text().replace("epochs = 2", "epochs = 0").replace('"cpu"', '"gpu"')
    path.write_text(text + '[tracking]\nurl = "x"\n')
    result = cli("status", "-w", workspace)
    assert result.code == 2
    for key in ("training.epochs = 0", "training.device = 'gpu'", "tracking.url: unknown key"):
        assert key in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "none"],
        ["show", "0"],
        ["show", "7"],
        ["promote", "7"],
        ["evaluate", "7"],
        ["rollback"],
        ["rollback", "--to", "7"],
        ["release", "000009-00000000"],
        ["quarantine", "000009-00000000", "--reason", "x"],
        ["quarantine", "000001-00000000"],
        ["ingest", "nowhere.csv"],
        ["promote", "1", "--force"],
    ],
    ids=" ".join,
)
def test_2_wrong_use_changes_nothing(cli: Cli, workspace: Path, arguments: list[str]) -> None:
    before = kit.picture(workspace)
    result = cli(*arguments, "-w", workspace)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    assert kit.picture(workspace) == before


def test_3_refused_data(cli: Cli, workspace: Path) -> None:
    kit.arrive(workspace, "broken.csv", "a,b\n1,2\n")
    result = cli("ingest", "-w", workspace)
    assert result.code == 3
    assert "quarantine" in result.out


def test_3_refused_by_a_gate(cli: Cli, lived: Path) -> None:
    result = cli("promote", "3", "-w", lived)
    assert result.code == 3
    assert result.err.startswith("Refused:")
    assert f"perdure promote -w {lived} 3 --force --reason" in result.err


def test_4_somebody_holds_the_lock(cli: Cli, workspace: Path) -> None:
    with locks.hold(config.read(workspace), "model", "retrain"):
        result = cli("rollback", "-w", workspace)
    assert result.code == 4
    assert result.err.startswith("Busy:")
    assert "for retrain" in result.err
    assert "Nothing was changed" in result.err


def test_5_mlflow_does_not_answer(cli: Cli, workspace: Path) -> None:
    path = workspace / "perdure.toml"
    path.write_text(path.read_text() + '[tracking]\nuri = "http://127.0.0.1:9"\n')
    result = cli("status", "-w", workspace)
    assert result.code == 5
    assert result.err.startswith("Unreachable:")
    assert "http://127.0.0.1:9" in result.err


def test_1_a_full_disk_says_what_to_do_whoever_told_of_it() -> None:
    messages: list[BaseException] = [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
        errors.Fault("git commit failed (128): fatal: No space left on device"),
        wrapped(RuntimeError("MLflow gave up"), OSError(28, "No space left on device")),
    ]
    for one in messages:
        assert disk.is_full(one), one
    assert not disk.is_full(OSError(13, "Permission denied"))
    result = client.unreachable("sqlite:////srv/mlflow.db", messages[2])
    assert "the disk is full" in result.message
    assert "free some space" in (result.hint or "")


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(27, "File too large"), "a file would be larger than the limit"),
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "there is not enough memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "not enough memory"),
    ],
)
def test_a_limit_of_the_process_is_named_whoever_raised_it(error: Exception, what: str) -> None:
    for one in (error, wrapped(errors.Fault("it failed"), error)):
        found = exhausted.named(one)
        assert found is not None
        assert what in found.what
    assert exhausted.named(OSError(13, "Permission denied")) is None


@pytest.mark.parametrize(
    ("limit", "most", "arguments", "message"),
    [
        (resource.RLIMIT_FSIZE, 1024, ("ingest", "new.csv"), "ulimit -f unlimited"),
        (resource.RLIMIT_AS, 900_000_000, ("retrain",), "ulimit -v unlimited"),
    ],
)
def test_a_limit_ends_in_our_words_and_loses_nothing(
    cli: Cli, workspace: Path, limit: int, most: int, arguments: tuple[str, ...], message: str
) -> None:
    new = workspace.parent / "new.csv"
    new.write_text(kit.table(7, 80))
    command = [sys.executable, "-P", "-m", "perdure", *arguments, "-w", str(workspace)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=workspace.parent, timeout=240,
        preexec_fn=lambda: resource.setrlimit(limit, (most, most)),
    )  # fmt: skip
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode != 0
    assert cli("ingest", new, "-w", workspace).code == 0
    assert cli("status", "-w", workspace).code == 0


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_5_says_why_nobody_answers_in_the_systems_words() -> None:
    with pytest.raises(errors.Unreachable) as refused:
        client.probe("http://ada:s3cret@127.0.0.1:9")
    assert refused.value.message == (
        "MLflow at http://127.0.0.1:9 does not answer: Connection refused"
    )
    with pytest.raises(errors.Unreachable, match=r"Name or service|name resolution|known"):
        client.probe("http://nowhere.invalid:5000")
