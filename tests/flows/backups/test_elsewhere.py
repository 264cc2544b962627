"""What lies outside of the workspace, or in another place of it, and what a restore makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from perdure import config
from perdure.flows import ingest
from perdure.flows.backup import backup
from perdure.flows.restore import restore
from perdure.tasks import data_versions
from tests.promises import kit


@pytest.mark.parametrize("link", [False, True])
def test_an_inbox_outside_of_the_workspace(root: Path, tmp_path: Path, link: bool) -> None:
    """Its files come back, and nothing is written to where it is."""
    drop = tmp_path / "drop"
    shutil.move(root / "inbox", drop)
    (drop / ".gitkeep").unlink()
    if link:
        (root / "inbox").symlink_to(drop)
        kit.git(root, "rm", "--quiet", "--cached", "inbox/.gitkeep")
        kit.git(root, "add", "--force", "inbox")
        kit.git(root, "commit", "--quiet", "-m", "the inbox is elsewhere", "--", "inbox")
    else:
        text = (root / "perdure.toml").read_text()
        text = text.replace("[data]\n", f"[data]\ninbox = {json.dumps(str(drop))}\n")
        (root / "perdure.toml").write_text(text)
    done = backup(str(root), tmp_path / "backups")
    (drop / "waiting.csv").unlink()

    made = tmp_path / "made"
    [lacks] = restore(tmp_path / "backups", made).lacks
    waited = f"inbox-{Path(done.path).name}"
    assert done.lacks == (lacks,)
    assert (str(drop) if not link else "the inbox inbox,") in lacks
    assert f"perdure ingest {waited}/*" in lacks
    assert config.read(made).inbox.resolve() == drop
    assert list(drop.iterdir()) == []
    assert (made / waited / "waiting.csv").read_text() == kit.table(5)
    [one] = ingest.ingest.fn(str(made), [str(made / waited / "waiting.csv")]).files
    assert one.experience is not None


@pytest.mark.parametrize("absolute", [False, True])
def test_a_dvc_remote_that_is_another_folder_of_the_workspace(
    root: Path, tmp_path: Path, absolute: bool
) -> None:
    with (root / ".gitignore").open("a") as file:
        file.write("/store\n")
    (root / ".perdure" / "dvc-remote").rename(root / "store")
    data_versions.init(root, str(root / "store"))
    if absolute:
        config_file = root / ".dvc" / "config"
        text = config_file.read_text().replace("url = ../store", f"url = {root / 'store'}")
        assert str(root / "store") in text
        config_file.write_text(text)
    backup(str(root), tmp_path / "backups")
    root.rename(tmp_path / "gone")
    made = tmp_path / "made"
    done = restore(tmp_path / "backups", made)
    assert (done.experiences, done.lacks) == (4, ())
    before = len(list((made / "store").rglob("*")))
    kit.ingest(made, kit.table(6))  # pushes to the one that it has
    assert len(list((made / "store").rglob("*"))) > before
    assert not root.exists()


def test_with_an_mlflow_server_and_a_dvc_remote_it_says_what_is_not_in_it(
    root: Path, tmp_path: Path
) -> None:
    shared = (root / ".perdure" / "dvc-remote").rename(tmp_path / "shared data")
    data_versions.init(root, str(shared))
    with (root / "perdure.toml").open("a") as file:
        file.write('[tracking]\nuri = "http://ada:s3cret@127.0.0.1:9"\n')
    done = backup(str(root), tmp_path / "backups")
    registry, data = done.lacks
    assert "127.0.0.1:9" in registry
    assert "s3cret" not in registry
    assert str(shared) in data
    assert not (Path(done.path) / "workspace" / ".perdure" / "mlflow.db").exists()
    back = restore(tmp_path / "backups", tmp_path / "made")
    assert back.experiences == 4
    assert back.lacks == done.lacks
    shutil.rmtree(shared)
    again = restore(tmp_path / "backups", tmp_path / "later")
    assert again.experiences == 0
    assert "dvc pull" in again.lacks[-1]
