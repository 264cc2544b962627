"""Folders that others write into: listed, read without following links, removed with care."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perdure import untrusted_folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that nobody who fills the folder may have read."""
    path = tmp_path / "secret"
    path.mkdir()
    (path / "key.png").write_bytes(b"secret")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    for name in ("b/2", "b/10", "a/1", "a/deep/3", ".hidden/x", "a/.DS_Store", "top"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_files_are_listed_in_order_without_what_is_hidden(folder: Path) -> None:
    found = untrusted_folder.entries(folder)
    assert [entry.name for entry in found] == ["a/1", "a/deep/3", "b/10", "b/2", "top"]
    assert [entry.fault for entry in found] == [None] * 5
    assert [entry.size for entry in found] == [len(entry.name) for entry in found]
    for entry in found:
        with untrusted_folder.opened(folder, entry.name) as file:
            assert file.read() == entry.name.encode()


def test_links_and_pipes_are_faults_at_every_level(folder: Path, secret: Path) -> None:
    (folder / "a" / "link").symlink_to(secret / "key.png")
    (folder / "linked").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    faults = {entry.name: entry.fault for entry in untrusted_folder.entries(folder) if entry.fault}
    assert faults == {"a/link": "is a link", "linked": "is a link", "pipe": "is no regular file"}
    for name in (*faults, "linked/key.png"):
        with pytest.raises(OSError, match=r".+"):
            untrusted_folder.opened(folder, name)


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(folder: Path, secret: Path) -> None:
    (folder / "c").mkdir()
    (folder / "c" / "key.png").write_bytes(b"harmless")
    assert "c/key.png" in [entry.name for entry in untrusted_folder.entries(folder)]
    (folder / "c" / "key.png").unlink()
    (folder / "c").rmdir()
    (folder / "c").symlink_to(secret)
    assert (folder / "c" / "key.png").read_bytes() == b"secret"  # so plain reading would follow
    with pytest.raises(OSError, match=r".+"):
        untrusted_folder.opened(folder, "c/key.png")


def test_no_file_handle_is_left_open(folder: Path, secret: Path) -> None:
    (folder / "a" / "link").symlink_to(secret / "key.png")
    before = len(list(Path("/dev/fd").iterdir()))
    for name in ("a/1", "a/link", "nowhere/x", "a/none"):
        try:
            untrusted_folder.opened(folder, name).close()
        except OSError:
            continue
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_folder_is_removed_as_it_was_seen_and_only_so(folder: Path) -> None:
    known = untrusted_folder.seen(folder)
    assert known == untrusted_folder.seen(folder)
    (folder / "b" / "new").write_bytes(b"")
    assert untrusted_folder.seen(folder) != known
    assert not untrusted_folder.remove(folder, known)
    assert (folder / "a" / "1").exists()
    assert not untrusted_folder.remove(folder, untrusted_folder.seen(folder))
    left = sorted(p.name for p in folder.rglob("*") if p.is_file())
    assert left == [".DS_Store", "x"]  # what was hidden: nobody has looked at it
    (folder / "a" / ".DS_Store").unlink()
    (folder / ".hidden" / "x").unlink()
    assert untrusted_folder.remove(folder, untrusted_folder.seen(folder))
    assert not folder.exists()


def test_what_comes_while_a_folder_is_removed_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody puts a file there right after it was looked at."""
    known, look = untrusted_folder.seen(folder), untrusted_folder.entries

    def entries(place: Path) -> tuple[untrusted_folder.Entry, ...]:
        found = look(place)
        (folder / "b" / "new").write_bytes(b"new")
        return found

    monkeypatch.setattr(untrusted_folder, "entries", entries)
    assert not untrusted_folder.remove(folder, known)
    assert (folder / "b" / "new").read_bytes() == b"new"
    assert not (folder / "b" / "2").exists()


def test_removing_does_not_go_through_links(folder: Path, secret: Path) -> None:
    (folder / "linked").symlink_to(secret)
    untrusted_folder.remove(folder, untrusted_folder.seen(folder))
    assert not (folder / "linked").is_symlink()
    assert (secret / "key.png").exists()
