"""`perdure init`, wherever one may call it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sqlalchemy

from perdure import config
from tests.cli.conftest import Cli
from tests.promises import kit
from tests.tasks import picture_kit


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "days.csv"
    path.write_text(kit.table(1, 120))
    return path


def test_it_makes_a_workspace(cli: Cli, tmp_path: Path, data: Path) -> None:
    root = tmp_path / "a new folder" / "weather"
    result = cli("init", root, "--data", data, "--target", "kind")
    assert result.code == 0
    assert "perdure retrain" in result.out
    for name in (".git", ".dvc", "perdure.toml", "schema.toml", "inbox", "data.dvc"):
        assert (root / name).exists(), name
    assert 'name = "weather"' in (root / "perdure.toml").read_text()
    assert "#" in (root / "schema.toml").read_text()
    assert kit.git(root, "status", "--porcelain") == ""
    assert "inbox/.gitkeep" in kit.git(root, "ls-files")
    assert "data/" not in kit.git(root, "ls-files")
    value = cli("status", "-w", root, "--json").json
    assert value["experiences"] == len(value["pending"]) == 1


def test_a_folder_that_sqlite_cannot_name_is_refused_and_nothing_is_written(
    cli: Cli, tmp_path: Path, data: Path
) -> None:
    """`sqlite:////srv/a?b/mlflow.db` is the file /srv/a."""
    result = cli("init", tmp_path / "a?b" / "weather", "--data", data, "--target", "kind")
    assert result.code == 2
    assert "question mark" in result.err
    assert [path.name for path in tmp_path.iterdir()] == [data.name]


def test_a_workspace_that_was_moved_to_such_a_folder_says_so(cli: Cli, workspace: Path) -> None:
    moved = workspace.rename(workspace.with_name("why?"))
    result = cli("status", "-w", moved)
    assert result.code == 2
    assert "question mark" in result.err
    assert "rename the folder" in result.err


@pytest.mark.parametrize("name", ["a#b", "a%3Fb", "a%20b c;d=é"])
def test_a_folder_with_other_odd_signs_keeps_all_to_itself(
    cli: Cli, tmp_path: Path, data: Path, name: str
) -> None:
    """Also what SQLAlchemy makes of the registry's address."""
    root = tmp_path / name
    assert cli("init", root, "--data", data, "--target", "kind").code == 0
    address = config.read(root).tracking_uri
    database = sqlalchemy.make_url(address).database
    assert database == str(root / ".perdure" / "mlflow.db")


def test_a_number_to_predict_is_a_regression(cli: Cli, tmp_path: Path) -> None:
    lines = [f"{i * 7 % 80 + 0.5},{i * 1.5 + 0.25}" for i in range(80)]
    (tmp_path / "d.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    made = cli("init", tmp_path / "w", "--data", tmp_path / "d.csv", "--target", "y", "--json").json
    assert made["task"] == "regression"


def test_it_refuses_where_a_workspace_is_and_changes_nothing(
    cli: Cli, workspace: Path, data: Path
) -> None:
    (workspace / "perdure.toml").write_text("# mine\n" + (workspace / "perdure.toml").read_text())
    before = {p: p.read_bytes() for p in sorted(workspace.rglob("*")) if p.is_file()}
    head = kit.git(workspace, "rev-parse", "HEAD")
    result = cli("init", workspace, "--data", data, "--target", "kind")
    assert result.code == 2
    assert "is a workspace already; nothing was changed" in result.err
    assert "perdure ingest" in result.err
    assert {p: p.read_bytes() for p in sorted(workspace.rglob("*")) if p.is_file()} == before
    assert kit.git(workspace, "rev-parse", "HEAD") == head


def test_inside_a_git_repository_it_keeps_to_its_folder(
    cli: Cli, tmp_path: Path, data: Path
) -> None:
    outer = tmp_path / "project"
    outer.mkdir()
    subprocess.run(["git", "init", "--quiet", str(outer)], check=True)
    (outer / "mine.txt").write_text("mine")
    kit.git(outer, "add", "mine.txt")
    (outer / "half.txt").write_text("not yet added")
    result = cli("init", outer / "models" / "rain", "--data", data, "--target", "kind")
    assert result.code == 0, result.err
    assert not (outer / "models" / "rain" / ".git").exists()
    # What its owner had staged is still staged, and not in Perdure's commits.
    assert kit.git(outer, "status", "--porcelain").splitlines() == ["A  mine.txt", "?? half.txt"]
    files = kit.git(outer, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    assert files
    assert all(file.startswith("models/rain/") for file in files)


@pytest.mark.parametrize(
    ("arguments", "said_"),
    [
        (["--target", "nothing"], "nothing"),
        (["--target", "kind", "--task", "regression"], "kind"),
        (["--target", "kind", "--name", "a/b"], "a/b"),
        (["--target", "kind", "--task", "clustering"], "clustering"),
    ],
)
def test_what_cannot_work_makes_nothing(
    cli: Cli, tmp_path: Path, data: Path, arguments: list[str], said_: str
) -> None:
    root = tmp_path / "w"
    result = cli("init", root, "--data", data, *arguments)
    assert result.code in (2, 3)
    assert said_ in result.err
    assert "Traceback" not in result.err
    assert not root.exists()


def test_data_that_does_not_exist(cli: Cli, tmp_path: Path) -> None:
    result = cli("init", tmp_path / "w", "--data", tmp_path / "no.csv", "--target", "y")
    assert result.code in (2, 3)
    assert "no.csv" in result.err
    assert not (tmp_path / "w").exists()


def test_images_of_a_size(cli: Cli, tmp_path: Path) -> None:
    first = picture_kit.archive(tmp_path / "first.zip", picture_kit.files(20))
    result = cli("init", tmp_path / "w", "--data", first, "--size", "5x6", "--target", "light")
    assert result.code == 0, result.err
    text = (tmp_path / "w" / "schema.toml").read_text()
    assert '[columns.image]\nkind = "image"\nheight = 5\nwidth = 6\nchannels = 1\n' in text
    assert 'name = "light"' in text
    assert 'classes = ["bright", "dark"]' in text
    value = cli("status", "-w", tmp_path / "w", "--json").json
    assert value["experiences"] == len(value["pending"]) == 1


def test_a_column_of_text_by_name(cli: Cli, tmp_path: Path) -> None:
    lines = [f"{i * 7 % 5}.5,word {i} of {i * 3 % 7},{'no' if i % 2 else 'yes'}" for i in range(80)]
    (tmp_path / "d.csv").write_text("x,t,y\n" + "\n".join(lines) + "\n")
    start = ("init", tmp_path / "w", "--data", tmp_path / "d.csv", "--target", "y")
    result = cli(*start, "--kind", "text", "--column", "t")
    assert result.code == 0, result.err
    text = (tmp_path / "w" / "schema.toml").read_text()
    assert '[columns.x]\nkind = "ignore"\n' in text
    assert '[columns.t]\nkind = "text"\n' in text
    assert 'factory = "lstm"' in (tmp_path / "w" / "perdure.toml").read_text()


@pytest.mark.parametrize(
    ("form", "arguments", "said_"),
    [
        ("images", ["--size", "32"], "--size '32' is no size of images"),
        ("images", ["--column", "t"], "--column is for text and sequences"),
        ("images", ["--kind", "table", "--target", "y"], "is a folder"),
        ("table", ["--size", "3x3", "--target", "kind"], "--size is for images"),
        ("table", ["--column", "a", "--target", "kind"], "--column needs --kind"),
        ("table", [], "--target COLUMN is missing"),
        ("table", ["--kind", "image"], "neither a folder of images by class"),
        ("table", ["--kind", "sequence", "--target", "kind"], "0 columns look like numbers"),
        ("table", ["--kind", "sound", "--target", "kind"], "sound"),
    ],
)
def test_a_kind_that_does_not_fit_makes_nothing(
    cli: Cli, tmp_path: Path, data: Path, form: str, arguments: list[str], said_: str
) -> None:
    first = data
    if form == "images":
        first = picture_kit.folder(tmp_path / "d", picture_kit.files(20))
    result = cli("init", tmp_path / "w", "--data", first, *arguments)
    assert result.code in (2, 3)
    assert said_ in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "w").exists()
