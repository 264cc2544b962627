"""The same over a real MLflow server: tags, aliases, artifacts, and what happens without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perdure.errors import Corrupt, LockHeld, Unreachable, UsageError
from perdure.records import Change, Event, Held
from perdure.tasks.registry import Registry
from tests.tasks.server_kit import Server
from tests.tasks.version_kit import AT, register, version_folder, workspace


def test_over_a_server(server: Server, tmp_path: Path) -> None:
    folder = version_folder(tmp_path / "version")
    registry = Registry(workspace(tmp_path / "workspace", uri=server.uri))
    assert registry.read().champion is None
    assert registry.history() == ()
    assert registry.recover() is None

    version = register(registry, folder)
    assert register(registry, folder) == version
    held = Held("000002-bbbbbbbb", ("why " * 2000,), AT, "me")
    events = (
        Event(AT, "promoted", 1, None, "000001-aaaaaaaa", "r" * 9000, "me"),
        Event(AT, "held", None, None, held.id, None, "me"),
    )
    change = Change(
        key="first",
        expects={"champion": None},
        aliases={"champion": 1, "challenger": 1},
        replaced={1: None},
        hold=(held,),
        events=events,
    )
    registry.apply(change)
    registry.apply(change)
    now = registry.read()
    assert now.champion == now.challenger == replace(version, promoted=True)
    assert now.champion_since == AT
    assert now.held == {held.id: held}
    assert registry.history() == events
    with pytest.raises(LockHeld, match="champion is now v1, not nothing"):
        registry.apply(Change("other", {"champion": None}, {"champion": None}))
    registry.apply(Change("third", {}, {"champion": None}, release=(held.id,)))
    assert registry.read().champion is None
    assert registry.read().held == {}
    with pytest.raises(UsageError, match="there is no version 2"):
        registry.version(2)

    there = registry.download(version)
    assert tmp_path / "workspace" / ".perdure" / "versions" in there.parents
    for path in folder.rglob("*"):
        if path.is_file():
            assert (there / path.relative_to(folder)).read_bytes() == path.read_bytes()
    stamp = (there / "model.pt2").stat().st_mtime_ns
    assert registry.download(version) == there
    assert (there / "model.pt2").stat().st_mtime_ns == stamp, "fetched once"
    (there / "model.pt2").write_bytes(b"spoilt")
    assert (registry.download(version) / "model.pt2").stat().st_size > 1000, "fetched anew"
    stored = list((tmp_path / "stored").rglob("learner.json"))
    assert len(stored) == 1
    stored[0].write_text("changed in the store")
    (there / "model.pt2").write_bytes(b"spoilt")
    with pytest.raises(Corrupt, match=r"learner/learner\.json was changed"):
        registry.download(version)
    assert not there.exists(), "nothing spoilt stays behind"

    server.stop()
    for ask in (registry.read, registry.versions, lambda: registry.apply(change)):
        with pytest.raises(Unreachable):
            ask()
    with pytest.raises(Unreachable):
        register(registry, folder, learning_key="2" * 64)
