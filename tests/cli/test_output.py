"""Results to stdout, everything else to stderr; no bars; no traceback on rubbish."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perdure import disk
from tests.cli.conftest import Cli
from tests.promises import kit
from tests.promises.journey import Journey

HEAVY = [
    "torch",
    "avalanche",
    "mlflow",
    "dvc",
    "pandas",
    "prefect",
    "matplotlib",
    "sklearn",
]


def test_json_is_all_that_stands_on_stdout(journey: Journey) -> None:
    asked = [
        result
        for name, result in journey.results.items()
        if name not in {"status in words", "nothing to do"}
    ]
    assert len(asked) == 5
    for result in asked:
        assert result.out.startswith("{")
        assert result.json


def test_where_there_is_no_terminal_there_are_no_bars_and_no_colours(journey: Journey) -> None:
    for name, result in journey.results.items():
        for text in (result.out, result.err):
            assert "\x1b" not in text, name
            assert "\r" not in text, name
            assert "━" not in text, name
            assert "Traceback" not in text, name


def test_no_other_library_speaks(journey: Journey) -> None:
    """Perdure's own words are there; MLflow's, DVC's and Prefect's are not."""
    for name, result in journey.results.items():
        for word in ("INFO", "WARNING", "mlflow", "alembic", "Warning", "prefect."):
            assert word not in result.err, (name, result.err)


def test_words_for_a_person(cli: Cli, lived: Path) -> None:
    for arguments in (["status"], ["history"], ["show", "2"], ["doctor"]):
        result = cli(*arguments, "-w", lived)
        assert result.out
        assert result.err == ""
    shown = cli("status", "-w", lived).out
    for word in ("champion", "perdure release", "perdure retrain", "perdure ingest", "broken.csv"):
        assert word in shown


def test_logs_go_to_stderr(cli: Cli, workspace: Path) -> None:
    from perdure import config
    from perdure.tasks import experiences

    experiences.begin(config.read(workspace), ())
    result = cli("ingest", "-w", workspace, "--json")
    assert result.json["files"] == []
    assert "cut short" in result.err


def test_the_nearest_workspace_above_is_taken(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace / "data" / "experiences")
    assert cli("status", "--json").json["model"] == "small"


def test_status_imports_nothing_heavy(lived: Path) -> None:
    code = (
        "import sys; from perdure.cli import app\n"
        "try: app.main()\nexcept SystemExit as e: assert not e.code\n"
        f"found = [m for m in {HEAVY} if m in sys.modules]; assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "-w", str(lived)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "champion" in done.stdout


RUBBISH = {
    "binary": b"\x00\xff\xfe" * 500,
    "one line": b"a,b,colour,kind\n",
    "ragged": b"a,b,colour,kind\n1,2\n1,2,3,4,5,6\n",
    "quotes": b'a,b,colour,kind\n"1,2,red,yes\n',
    "nothing": b"",
    "half a parquet": b"PAR1\x15\x04",
}


@pytest.mark.parametrize("content", RUBBISH.values(), ids=RUBBISH)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rubbish_is_refused_in_words(
    cli: Cli, tmp_path: Path, shared: Path, content: bytes, suffix: str
) -> None:
    """By `init`, which leaves nothing behind, and by `ingest`, which keeps it in quarantine."""
    file = tmp_path / f"rubbish.{suffix}"
    file.write_bytes(content)
    result = cli("init", tmp_path / "new", "--data", file, "--target", "kind")
    assert result.code == 3
    assert "Traceback" not in result.err
    assert "rubbish" in result.err
    assert not (tmp_path / "new").exists()

    result = cli("ingest", "-w", shared, file)
    assert result.code == 3
    assert "Traceback" not in result.err
    assert "quarantine" in result.out
    assert file.read_bytes() == content


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.make(tmp_path_factory.mktemp("shared") / "workspace")


def test_files_with_odd_names_are_harmless(cli: Cli, shared: Path, tmp_path: Path) -> None:
    names = [
        "a..b.csv", "with blank.csv", "-rf.csv", "[red]x[bold].csv", "ü\tß.csv", "a;b$(id).csv",
    ]  # fmt: skip
    for number, name in enumerate(names, 20):
        kit.arrive(shared, name, kit.table(number))
    (shared / "inbox" / "link.csv").symlink_to(tmp_path / "nowhere.csv")
    secret = tmp_path / "secret.csv"
    secret.write_text(kit.table(30))
    (shared / "inbox" / "other.csv").symlink_to(secret)
    result = cli("ingest", "-w", shared, "--json")
    outcomes = {one["file"]: one["outcome"] for one in result.json["files"]}
    assert len(outcomes) == len(names) + 2
    assert outcomes.pop("link.csv") == outcomes.pop("other.csv") == "quarantined"
    assert set(outcomes.values()) == {"ingested"}
    assert secret.read_text() == kit.table(30)
    assert sorted(path.name for path in (shared / "inbox").iterdir()) == [".gitkeep"]
    assert not kit.git(shared, "status", "--porcelain")
    shown = cli("status", "-w", shared)
    assert shown.code == 0


def test_a_disk_that_is_nearly_full_is_said(
    cli: Cli, lived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "free some space" not in cli("status", "-w", lived).out
    monkeypatch.setattr(disk, "LITTLE_BYTES", 2**62)
    assert "MB free  → free some space" in cli("status", "-w", lived).out
    result = cli("doctor", "-w", lived)
    assert result.code == 1
    assert "free some space: du -sh" in result.out


def test_the_table_of_a_verdict_is_alike_everywhere(cli: Cli, lived: Path) -> None:
    from perdure import escaping, verdict_table
    from perdure.tasks.registry import pages

    registry = kit.registry(lived)
    verdict = registry.verdict(3)
    assert verdict is not None
    shown = cli("show", "3", "-w", lived).out
    asked = cli("evaluate", "3", "--gates", "-w", lived)
    assert asked.code == 3
    assert "By today's limits: refused." in asked.out
    raw = registry.client.call("get_model_version", registry.name, "3").description
    page = verdict_table.markdown(verdict)
    assert page in raw
    assert len(raw) <= pages.DESCRIPTION
    for row in verdict_table.rows(verdict):
        for cell in row:
            assert cell in " ".join(shown.split())
            assert escaping.markdown(cell) in page
    past = next(reason for reason in verdict.reasons if reason.gate == "past")
    assert f"{past.value:.4f} accuracy" in asked.out
    assert "shown to be worse by more than the margin" in asked.out
