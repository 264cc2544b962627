"""Rows that are forgotten are nowhere any more, and the model goes on without them."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from perdure import config
from perdure.errors import Fault, Refusal, UsageError
from perdure.flows import forget, ingest, removal, status
from perdure.flows.retrain import retrain
from perdure.records.forgetting import Forgotten
from perdure.tasks import experiences
from perdure.tasks.data_versions import unused
from perdure.tasks.experiences import replacing
from perdure.tasks.registry import artifacts
from perdure.tasks.registry.client import Client
from perdure.tasks.tables import content
from tests.promises import kit
from tests.service.clones import Clones

WORD = "zebrafinch"
WHERE = f"colour == '{WORD}'"
PLANTED = f"1.5,0.5,{WORD},yes\n"
SEVERAL = "".join(f"{number}.5,0.5,{WORD},yes\n" for number in range(1, 9))
"""Some of which are test rows, and others in the replay memory."""


def forgotten(root: Path, where: str | None = WHERE, rows: str | None = None) -> Forgotten:
    return forget.forget(str(root), where, rows, "request 88", apply=True)


def places(root: Path) -> set[str]:
    """The files that have the word in any of their bytes, unpacked."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        path.relative_to(root).as_posix()
        for path in files
        if any(WORD.encode() in text for text in unpacked(path.read_bytes()))
    }


def unpacked(data: bytes) -> Iterator[bytes]:
    yield data
    if data[:4] == b"PAR1":
        yield pq.read_table(io.BytesIO(data)).to_pandas().to_csv().encode()
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:1] == b"\x78":  # git's objects
        yield zlib.decompress(data)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three experiences are learned. The planted row is in the second, waits, and was refused."""
    root = kit.make(tmp_path_factory.mktemp("forget") / "small")
    retrain.fn(str(root))
    kit.ingest(root, kit.table(2, 80) + SEVERAL)
    retrain.fn(str(root))
    kit.ingest(root, kit.table(3, 80))
    retrain.fn(str(root))
    head, *rows = kit.table(4, 6).splitlines()
    refused = f"much,0.5,{WORD},yes"
    kit.ingest(root, "\n".join([head, *rows[:2], refused, refused, refused]))  # too many refused
    kit.ingest(root, kit.table(5, 80) + refused + "\n")
    retrain.fn(str(root))
    kit.ingest(root, "\n".join([head, *rows, PLANTED]))  # too few rows
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "small", symlinks=True))


def sound(root: Path) -> None:
    """Nothing is double, nothing is lost, and all is recorded."""
    ws = config.read(root)
    assert len(experiences.committed(ws)) == len(experiences.list_experiences(ws)) == 4
    rows = [len(experiences.read_experience(ws, one.id, content.content_sha256))
            for one in experiences.list_experiences(ws)]  # fmt: skip
    assert rows == [120, 80, 80, 80]
    assert kit.git(root, "status", "--porcelain") == ""
    assert len(list(ws.waiting.iterdir())) == 1


def test_the_rows_are_nowhere_and_the_model_is_learned_without_them(root: Path) -> None:
    before = places(root)
    assert {place.partition("/")[0] for place in before} >= {"data", ".dvc", ".perdure"}
    assert any(place.endswith("evaluation/rows.parquet") for place in before)
    result = forget.forget(str(root), WHERE, None, "request 88")
    assert (result.done, result.rows, result.versions) == (False, 13, (2, 3, 4))
    assert places(root) == before

    done = forgotten(root)
    assert places(root) == set()
    sound(root)
    assert (done.champion, done.challenger, done.pending) == (1, 1, 3)
    assert [(one.rows, one.of) for one in done.experiences] == [(8, 88)]
    assert [(one.rows, one.of) for one in done.waiting] == [(1, 7)]
    assert sorted((one.rows, one.of) for one in done.quarantine) == [(1, 1), (3, 5)]
    assert done.receipt is not None
    receipt = json.loads((root / done.receipt).read_text())
    assert (receipt["reason"], receipt["rows"], receipt["versions"]) == (
        "request 88",
        13,
        [2, 3, 4],
    )
    registry = kit.registry(root)
    now = registry.read()
    assert now.champion is not None
    assert now.champion.version == 7  # learned again: 5, 6 and 7
    ids = [one.id for one in experiences.list_experiences(config.read(root))]
    assert list(now.champion.cursor) == ids
    [event] = [one for one in registry.history() if one.action == "forgot"]
    assert (event.version, event.replaced, event.reason) == (1, 4, "request 88")
    with pytest.raises(UsageError, match=r"version 3 was removed on .* by forget"):
        status.show(str(root), 3)


def test_an_alias_of_a_person_or_a_store_that_refuses_stops_it_before_the_data(root: Path) -> None:
    """Else the command could not find these versions again."""
    registry, before = kit.registry(root), places(root)
    registry.client.call("set_registered_model_alias", registry.name, "staging", "3")
    with pytest.raises(Refusal, match="version 3 learned from these rows, and has the alias stag"):
        forgotten(root)
    assert places(root) == before
    registry.client.call("delete_registered_model_alias", registry.name, "staging")

    def refuses(*_: Any) -> None:
        raise Fault("the store refuses")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "remove", refuses)
        with pytest.raises(Fault, match="version 2: the store refuses"):
            forgotten(root)
    assert any(place.startswith("data/experiences/") for place in places(root))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forget, "_learn_again", lambda _: None)
        forgotten(root)
    assert places(root) == set()
    sound(root)


def test_again_there_is_nothing_to_forget(root: Path) -> None:
    forgotten(root)
    versions = [one.version for one in kit.registry(root).versions()]
    again = forgotten(root)
    assert (again.rows, again.versions, again.pending) == (0, (), 0)
    assert [one.version for one in kit.registry(root).versions()] == versions


def test_a_file_that_arrives_again_does_not_bring_them_back(root: Path) -> None:
    forgotten(root)
    [known] = ingest.ingest.fn(str(root), [_again(root)]).files
    assert known.outcome == "known"
    assert places(root) == set()


def _again(root: Path) -> str:
    path = root.parent / "again.csv"
    path.write_text(kit.table(2, 80) + SEVERAL)
    return str(path)


def test_rows_of_the_first_experience_end_every_version(root: Path) -> None:
    """Without a version that never saw them a new learner begins, from the first experience."""
    ws = config.read(root)
    first = experiences.list_experiences(ws)[0]
    rows = experiences.read_experience(ws, first.id, content.content_sha256)
    file = root.parent / "rows.csv"
    rows[["a", "b"]].head(3).to_csv(file, index=False)
    done = forgotten(root, None, str(file))
    assert (done.versions, done.champion, done.challenger) == ((1, 2, 3, 4), None, None)
    assert [(one.rows, one.of) for one in done.experiences] == [(3, 120)]
    champion = kit.registry(root).read().champion
    assert champion is not None
    assert (champion.version, champion.parent is None, len(champion.cursor)) == (8, False, 4)


class Killed(BaseException):
    """As a kill, at one point."""


def _after(patch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    real = getattr(where, name)

    def killed(*given: Any, **named: Any) -> Any:
        real(*given, **named)
        raise Killed

    patch.setattr(where, name, killed)


def _before(patch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    patch.setattr(where, name, killed)


POINTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the aliases are moved": lambda patch: _before(patch, removal, "remove"),
    "the first version is marked": lambda patch: _before(patch, artifacts, "remove"),
    "the versions are gone": lambda patch: _before(patch, replacing, "write"),
    "the marker is written": lambda patch: _after(patch, replacing, "begin"),
    "the new file is there": lambda patch: _before(patch, replacing, "settle"),
    "the old file is gone": lambda patch: _after(patch, replacing, "settle"),
    "before it is recorded": lambda patch: _before(patch, ingest, "record"),
    "it is recorded": lambda patch: _after(patch, ingest, "record"),
    "DVC's objects stay": lambda patch: _before(patch, unused, "drop"),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_same_command_does_the_rest(root: Path, point: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        POINTS[point](patch)
        with pytest.raises(Killed):
            forgotten(root)
    status.status(str(root))  # what only reads works at once
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forget, "_learn_again", lambda _: None)  # as tried above
        forgotten(root)
    assert places(root) == set()
    sound(root)
    now = status.status(str(root))
    assert (now["champion"]["version"], len(now["pending"])) == (1, 3)
    assert [one.version for one in kit.registry(root).versions()] == [1]


def test_a_learning_step_that_was_killed_before_there_was_a_version_leaves_nothing(
    root: Path,
) -> None:
    kit.ingest(root, kit.table(6, 80) + SEVERAL)
    fluent = Client.fluent

    def killed(self: Any, name: str, *given: Any, **named: Any) -> Any:
        if name == "create_model_version":
            raise Killed
        return fluent(self, name, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "fluent", killed)
        with pytest.raises(Killed):
            retrain.fn(str(root))
    assert any("/artifacts/" in place for place in places(root))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forget, "_learn_again", lambda _: None)
        forgotten(root)
    assert places(root) == set()


def test_what_is_held_stays_held_under_its_new_id(root: Path) -> None:
    from perdure.flows import release
    from perdure.flows.rollback import rollback

    rollback.fn(str(root), to=1)
    held = kit.registry(root).read().held
    assert len(held) == 3
    done = forgotten(root)
    [one] = done.experiences
    now = kit.registry(root).read().held
    assert set(now) == (set(held) - {one.place}) | {one.becomes}
    assert now[str(one.becomes)].reasons == held[one.place].reasons
    release.release(str(root), [str(one.becomes)])
    [learned] = retrain.fn(str(root)).learned
    assert learned.experience == one.becomes


@pytest.mark.parametrize(
    ("where", "rows", "message"),
    [
        (None, None, "one of --where and --rows is needed"),
        ("size == 3", None, "the schema has no column 'size'"),
        ("colour = 'x'", None, "is no condition"),
        (None, "size\n3\n", "the schema has no column 'size'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    root: Path, where: str | None, rows: str | None, message: str
) -> None:
    file = None
    if rows is not None:
        file = str(root.parent / "rows.csv")
        Path(file).write_text(rows)
    with pytest.raises(UsageError, match=message):
        forgotten(root, where, file)


def test_other_clones_follow(tmp_path: Path) -> None:
    both = Clones(tmp_path / "clones")
    kit.ingest(both.root("a"), kit.table(2, 80) + PLANTED)
    retrain.fn(str(both.root("a")))
    retrain.fn(str(both.root("b")))
    forgotten(both.root("a"))
    retrain.fn(str(both.root("b")))
    a, b = (experiences.list_experiences(both.ws(name)) for name in ("a", "b"))
    assert [one.id for one in a] == [one.id for one in b]
    for name in ("a", "b"):
        assert not [place for place in places(both.root(name)) if place.startswith("data/")]
        assert kit.git(both.root(name), "status", "--porcelain") == ""
