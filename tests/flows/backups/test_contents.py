"""What is in a backup: what is not committed, and nothing that is half written or secret."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from perdure import config
from perdure.errors import Corrupt, Fault
from perdure.flows.backup import backup
from perdure.flows.restore import restore
from perdure.tasks import backups, data_versions
from tests.flows.test_inbox import mortal
from tests.promises import kit


def spoil(path: Path) -> None:
    """Change the last bit of a file."""
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def in_inbox(root: Path) -> list[str]:
    """What is in the inbox, by name from there."""
    return sorted(
        path.relative_to(root / "inbox").as_posix() for path in (root / "inbox").rglob("*")
    )


def test_a_file_that_is_still_being_written_is_left_out_and_named(
    root: Path, tmp_path: Path
) -> None:
    with (root / "inbox" / "growing.csv").open("w") as file:
        file.write(kit.table(9)[:100])
        file.flush()
        done = backup(str(root), tmp_path / "backups")
    assert done.left_out == ("inbox/growing.csv",)
    restore(tmp_path / "backups", tmp_path / "made")
    assert in_inbox(tmp_path / "made") == [".gitkeep", "waiting.csv"]


def test_what_changes_while_it_is_copied_is_left_out_and_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = shutil.copyfile

    def changed(source: Path, target: Path, **options: bool) -> object:
        done = copied(source, target, **options)
        if source == root / "notes" / "own.md":
            source.write_text("saved again\n")
        return done

    monkeypatch.setattr(shutil, "copyfile", changed)
    done = backup(str(root), tmp_path / "backups")
    assert done.left_out == ("notes/own.md",)
    assert not (Path(done.path) / "workspace" / "notes" / "own.md").exists()


@pytest.mark.parametrize("grows", [False, True])
def test_a_batch_that_changes_while_it_is_copied_is_left_out_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    """Where an ingest takes it out meanwhile, all of it is data by then."""
    batch = root / "inbox" / "batch"
    for name in ("ants", "bees"):
        (batch / name).mkdir(parents=True)
        (batch / name / "1.png").write_bytes(name.encode())
    copied = shutil.copyfile

    def changed(source: Path, target: Path, **options: bool) -> object:
        done = copied(source, target, **options)
        if source == batch / "ants" / "1.png" and grows:
            (batch / "ants" / "2.png").write_bytes(b"another")
        elif source == batch / "bees" / "1.png" and not grows:
            shutil.rmtree(batch)
        return done

    monkeypatch.setattr(shutil, "copyfile", changed)
    done = backup(str(root), tmp_path / "backups")
    assert done.left_out == (("inbox/batch",) if grows else ())
    assert batch.exists() == grows
    assert not (Path(done.path) / "workspace" / "inbox" / "batch").exists()


def test_pipes_and_repositories_are_left_out_and_links_are_kept(root: Path, tmp_path: Path) -> None:
    """A pipe would be waited for; a link in the inbox would be refused by an ingest."""
    (root / "inbox" / "link.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "inbox" / "pipe.csv")
    for name in ("whole", "linked"):
        (root / "inbox" / name / "cat").mkdir(parents=True)
        (root / "inbox" / name / "cat" / "1.png").write_bytes(b"1")
    (root / "inbox" / "linked" / "dog").symlink_to("cat")
    (root / "linked.md").symlink_to(root / "notes" / "own.md")
    (root / "notes" / "nowhere").symlink_to(tmp_path / "nowhere")
    for name in ("module", "theirs"):
        (root / name).mkdir()
        kit.git(root / name, "init", "--quiet")
        kit.git(root / name, "commit", "--quiet", "--allow-empty", "-m", "x")
    kit.git(root, "add", "module")
    kit.git(root, "commit", "--quiet", "-m", "a repository within", "--", "module")
    script = root / "notes" / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (root / "perdure.toml").rename(root / "other.toml")
    (root / "perdure.toml").symlink_to("other.toml")
    done = backup(str(root), tmp_path / "backups")
    assert sorted(done.left_out) == [
        "inbox/link.csv", "inbox/linked", "inbox/pipe.csv", "module", "theirs/"
    ]  # fmt: skip
    made = tmp_path / "made"
    restore(tmp_path / "backups", made)
    assert (made / "perdure.toml").readlink() == Path("other.toml")
    assert (made / "linked.md").readlink() == root / "notes" / "own.md"
    assert (made / "notes" / "nowhere").is_symlink()
    assert os.access(made / "notes" / "run.sh", os.X_OK)
    assert in_inbox(made) == [".gitkeep", "waiting.csv", "whole", "whole/cat", "whole/cat/1.png"]


def test_what_lies_behind_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    (root / "plots").mkdir()
    (root / "plots" / "1.svg").write_text("committed\n")
    kit.git(root, "add", "plots")
    kit.git(root, "commit", "--quiet", "-m", "plots", "--", "plots")
    (root / "plots").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "1.svg").write_text("not the workspace's\n")
    (root / "plots").symlink_to(tmp_path / "elsewhere")
    done = backup(str(root), tmp_path / "backups")
    assert done.left_out == ()
    assert not (Path(done.path) / "workspace" / "plots").exists()
    restore(tmp_path / "backups", tmp_path / "made")
    assert (tmp_path / "made" / "plots").readlink() == tmp_path / "elsewhere"


def test_what_may_not_be_read_is_left_out_and_named_unless_it_is_ours(
    root: Path, tmp_path: Path
) -> None:
    """Others leave files in the inbox, or beside the workspace's own files.

    Half a batch of images would be learned as a whole one, so all of it is left out. Without the
    registry's files there is no backup.
    """
    (root / "inbox" / "theirs.csv").write_text(kit.table(6))
    for name in ("ants", "bees", "cats"):
        (root / "inbox" / "batch" / name).mkdir(parents=True)
        (root / "inbox" / "batch" / name / "1.png").write_bytes(name.encode())
    (root / "notes" / "secret.md").write_text("not for everybody\n")
    (root / "closed").mkdir()
    (root / "closed" / "secret.md").write_text("not for everybody\n")
    for name in ("inbox/theirs.csv", "inbox/batch/bees", "notes/secret.md", "closed"):
        (root / name).chmod(0)
    program = (
        "import pathlib, sys\n"
        "from perdure.errors import Fault\n"
        "from perdure.flows.backup import backup\n"
        "root, place = map(pathlib.Path, sys.argv[1:])\n"
        "print(*sorted(backup(str(root), place).left_out), sep='\\n')\n"
        "(root / '.perdure' / 'artifacts' / 'learning').chmod(0)\n"
        "try:\n"
        "    backup(str(root), place)\n"
        "except Fault as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root), str(tmp_path / "backups")],
        preexec_fn=mortal if os.getuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *left_out, fault = done.stdout.splitlines()
    assert left_out == ["closed/", "inbox/batch", "inbox/theirs.csv", "notes/secret.md"]
    assert "Permission denied" in fault
    assert len(backups.snapshots(tmp_path / "backups")) == 1
    restore(tmp_path / "backups", tmp_path / "made")
    assert in_inbox(tmp_path / "made") == [".gitkeep", "waiting.csv"]


def test_a_version_that_was_changed_or_is_gone_is_found_when_it_is_backed_up(
    root: Path, tmp_path: Path
) -> None:
    [one, *_] = sorted((root / ".perdure" / "artifacts").rglob("*.safetensors"))
    spoil(one)
    with pytest.raises(Corrupt, match=one.name):
        backup(str(root), tmp_path / "backups")
    shutil.rmtree(one.parents[1])
    with pytest.raises(Corrupt, match="0 version folders"):
        backup(str(root), tmp_path / "backups")
    assert backups.snapshots(tmp_path / "backups") == []


def test_data_that_the_remote_does_not_have_is_taken_from_the_cache(
    root: Path, tmp_path: Path
) -> None:
    shutil.rmtree(root / ".perdure" / "dvc-remote" / "files")
    revision = data_versions.revision(config.read(root))
    assert revision is not None
    listing = root / ".perdure" / "dvc-remote" / "files" / "md5" / revision[:2] / revision[2:]
    listing.parent.mkdir(parents=True)
    listing.touch()  # as a push that is killed leaves it
    backup(str(root), tmp_path / "backups")
    restore(tmp_path / "backups", tmp_path / "made")
    assert data_tree(tmp_path / "made") == data_tree(root)
    shutil.rmtree(root / ".dvc" / "cache")
    with pytest.raises(Fault, match="data lacks"):
        backup(str(root), tmp_path / "others")


def test_names_that_are_no_text_are_kept(root: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (root / odd).write_text("untracked\n")
    (root / f"{odd}-link").symlink_to(odd)
    (root / "inbox" / f"{odd}.csv").symlink_to(odd)
    done = backup(str(root), tmp_path / "backups")
    assert done.left_out == ("inbox/caf\\udce9.csv",)
    restore(tmp_path / "backups", tmp_path / "made")
    assert (tmp_path / "made" / odd).read_text() == "untracked\n"
    assert (tmp_path / "made" / f"{odd}-link").readlink() == Path(odd)


def data_tree(root: Path) -> dict[str, bytes]:
    """The files of the data folder with their content."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in (root / "data").rglob("*")
        if path.is_file()
    }


def test_nothing_secret_is_in_it_and_it_is_for_its_owner_alone(root: Path, tmp_path: Path) -> None:
    data_versions.init(root, "http://ada:s3cret@127.0.0.1:9/data")
    kit.git(root, "checkout", "--quiet", ".dvc/config")
    with (root / ".dvc" / "config.local").open("w") as file:
        file.write("['remote \"storage\"']\n    url = http://ada:s3cret@127.0.0.1:9/data\n")
    (root / ".perdure" / "server.secret").write_text("s3cret")
    (root / ".gitignore").write_text("/data\n/.env\n")  # without `.perdure`
    (root / ".env").write_text("TOKEN=s3cret\n")
    (root / "private.txt").write_text("mine\n")
    (root / "private.txt").chmod(0o600)
    done = backup(str(root), tmp_path / "backups")
    assert done.lacks == ("the data, which the DVC remote http://127.0.0.1:9/data has",)
    files = {path: path.read_bytes() for path in Path(done.path).rglob("*") if path.is_file()}
    assert Path(done.path) / "workspace" / "inbox" / "waiting.csv" in files
    assert not [path for path, content in files.items() if b"s3cret" in content]
    assert not [path for path, content in files.items() if b"pa55word" in content]
    assert stat.S_IMODE(Path(done.path).stat().st_mode) == 0o700
    private = Path(done.path) / "workspace" / "private.txt"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
