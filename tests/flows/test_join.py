"""With `data.join` set to a number, the small files of one ingest make experiences together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from perdure import config
from perdure.errors import ConfigError
from perdure.flows.forget import forget
from perdure.flows.ingest import ingest
from perdure.flows.retrain import retrain
from perdure.flows.trace import trace
from perdure.flows.verify import verify
from perdure.records import Experience, Ingest
from perdure.tasks import experiences
from perdure.tasks.tables.content import content_sha256
from tests.promises import kit


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.make(tmp_path_factory.mktemp("join") / "workspace")


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    """With one experience of 120 rows, and files joined until they have 200."""
    root = Path(shutil.copytree(template, tmp_path / "workspace", symlinks=True))
    setting(root, "join = 200")
    return root


def setting(root: Path, line: str, instead: str = "") -> None:
    path = root / "perdure.toml"
    text = path.read_text().replace(f"{instead}\n\n" if instead else "", "")
    path.write_text(text.replace("[training]", f"{line}\n\n[training]", 1))
    kit.git(root, "commit", "--quiet", "--all", "-m", f"test: {line}")


def known(root: Path) -> tuple[Experience, ...]:
    """All but the first."""
    return experiences.list_experiences(config.read(root))[1:]


def parts(root: Path) -> list[list[str]]:
    return [[file.name for file in one.files] for one in known(root)]


def values(root: Path) -> list[float]:
    ws = config.read(root)
    frames = [experiences.read_experience(ws, one.id, content_sha256) for one in known(root)]
    return [value for frame in frames for value in frame["b"].tolist()]


def bring(root: Path, *files: tuple[str, str]) -> Ingest:
    for name, text in files:
        kit.arrive(root, name, text)
    return ingest.fn(str(root))


def column(*texts: str) -> list[float]:
    return [float(line.split(",")[1]) for text in texts for line in text.splitlines()[1:]]


def test_a_hundred_files_are_six_experiences(workspace: Path) -> None:
    setting(workspace, "join = 1000", instead="join = 200")
    texts = [kit.table(number, 60) for number in range(2, 102)]
    found = bring(workspace, *((f"{i}.csv", text) for i, text in enumerate(texts, 1)))
    assert [one.rows for one in known(workspace)] == [1020] * 5 + [900]
    assert values(workspace) == column(*texts)
    assert [name for names in parts(workspace) for name in names] == [
        f"{i}.csv" for i in range(1, 101)
    ]
    # Each file has its place in the result, and its experience.
    assert [one.file for one in found.files] == [f"{i}.csv" for i in range(1, 101)]
    ids = [one.id for one in known(workspace) for _ in one.files]
    assert [one.experience for one in found.files] == ids
    outcomes = [one.outcome for one in found.files]
    assert (outcomes.count("ingested"), outcomes.count("joined")) == (6, 94)
    assert sum(one.rows - one.joined_rows for one in found.files) == 6000
    assert found.hint is None
    # Nothing waits, and git and DVC have it all, in one revision.
    assert list((workspace / "data" / "waiting").iterdir()) == []
    assert kit.picture(workspace)["changed"] == []
    log = kit.git(workspace, "log", "-1", "--format=%B").split("\n", 1)
    assert log[0] == "ingest 6 files"
    for name in ("1.csv", "17.csv", "18.csv", "86.csv", "100.csv"):
        [(one, _)] = [(e, f) for e in known(workspace) for f in e.files if f.name == name]
        assert [e.id for e in trace(str(workspace), name).experiences] == [one.id]
    again = bring(workspace, ("again.csv", texts[40])).files[0]
    assert (again.outcome, again.experience) == ("known", known(workspace)[2].id)


def test_each_footer_is_read_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many files for one experience the work is by the file, not by the pair of files."""
    read: list[Path] = []
    usual = experiences.folder.facts_of

    def counted(path: Path) -> dict[str, Any]:
        read.append(path)
        return usual(path)

    monkeypatch.setattr("perdure.tasks.experiences.gathering.facts_of", counted)
    setting(workspace, "join = 5000", instead="join = 200")
    bring(workspace, *((f"{i}.csv", kit.table(i + 2, 12)) for i in range(30)))
    assert parts(workspace) == [[f"{i}.csv" for i in range(30)]]
    assert len(read) == len(set(read)) == 30


def test_a_large_file_is_alone_and_the_order_is_kept(workspace: Path) -> None:
    texts = [kit.table(2, 80), kit.table(3, 250), kit.table(4, 60), kit.table(5, 160)]
    bring(workspace, *((f"{i}.csv", text) for i, text in enumerate(texts, 1)))
    assert parts(workspace) == [["1.csv"], ["2.csv"], ["3.csv", "4.csv"]]
    assert values(workspace) == column(*texts)


def test_too_few_rows_before_a_large_file_go_with_it(workspace: Path) -> None:
    bring(workspace, ("1.csv", kit.table(2, 20)), ("2.csv", kit.table(3, 250)))
    assert parts(workspace) == [["1.csv", "2.csv"]]


def test_what_is_too_little_at_the_end_waits_for_the_next_ingest(workspace: Path) -> None:
    found = bring(workspace, ("1.csv", kit.table(2, 190)), ("2.csv", kit.table(3, 10)),
                  ("3.csv", kit.table(4, 12)), ("4.csv", kit.table(5, 9)))  # fmt: skip
    assert [one.outcome for one in found.files] == ["joined", "ingested", "waiting", "waiting"]
    assert found.files[2].notes == ("12 rows wait; 30 make an experience (data.min_rows)",)
    assert found.files[3].notes == (
        "9 rows wait with 12 of earlier files; 30 make an experience (data.min_rows)",
    )
    found = bring(workspace, ("5.csv", kit.table(6, 60)))
    assert parts(workspace) == [["1.csv", "2.csv"], ["3.csv", "4.csv", "5.csv"]]
    [one] = found.files
    assert (one.outcome, one.rows, one.joined_rows) == ("ingested", 81, 21)


def test_a_file_alone_is_an_experience_at_once(workspace: Path) -> None:
    """One small file a day: it does not wait for days."""
    [one] = bring(workspace, ("monday.csv", kit.table(2, 60))).files
    assert (one.outcome, one.rows, one.joined_rows, one.notes) == ("ingested", 60, 0, ())
    [two] = bring(workspace, ("tuesday.csv", kit.table(3, 60))).files
    assert two.outcome == "ingested"
    assert parts(workspace) == [["monday.csv"], ["tuesday.csv"]]


def test_refused_files_and_rows_are_as_ever(workspace: Path) -> None:
    bad = kit.table(3, 60).replace("a,b,", "a,c,")
    text = kit.table(5, 60).replace("\n", "\nmuch,", 1).replace("much,", "much", 1)
    found = bring(workspace, ("1.csv", kit.table(2, 60)), ("2.csv", bad),
                  ("3.csv", kit.table(2, 60)), ("4.csv", text))  # fmt: skip
    assert [(one.file, one.outcome, one.refused_rows) for one in found.files] == [
        ("1.csv", "joined", 0), ("2.csv", "quarantined", 60), ("3.csv", "known", 0),
        ("4.csv", "ingested", 1),
    ]  # fmt: skip
    assert found.files[3].folder is not None
    assert parts(workspace) == [["1.csv", "4.csv"]]


def test_files_of_another_form_do_not_join(workspace: Path) -> None:
    bring(workspace, ("1.csv", kit.table(2, 12)))
    column = '[columns.a]\nkind = "number"\nnullable = true'
    kit.edit_schema(workspace, column, '[columns.a]\nkind = "ignore"')
    found = bring(workspace, ("2.csv", kit.table(3, 60)), ("3.csv", kit.table(4, 60)))
    assert parts(workspace) == [["2.csv", "3.csv"]]
    assert found.files[1].notes[-1].startswith("12 rows of 1 earlier file do not join")


def test_joined_files_are_learned_traced_verified_and_forgotten(workspace: Path) -> None:
    texts = [kit.table(number, 60) for number in range(2, 8)]
    bring(workspace, *((f"{i}.csv", text) for i, text in enumerate(texts, 1)))
    assert [one.rows for one in known(workspace)] == [240, 120]
    learned = retrain.fn(str(workspace)).learned
    assert [one.experience for one in learned][1:] == [one.id for one in known(workspace)]
    [one] = trace(str(workspace), "3.csv").experiences
    assert one.id == known(workspace)[0].id
    assert all(check.ok for check in verify(str(workspace), 2).checks)
    (rows := workspace.parent / "rows.csv").write_text(texts[5])
    forget(str(workspace), None, str(rows), "asked for", apply=True)
    assert values(workspace) == column(*texts[:5])


@pytest.mark.parametrize("value", ["10", "0", "-5", '"many"', "1000.0"])
def test_a_number_that_joins_nothing_is_refused(workspace: Path, value: str) -> None:
    setting(workspace, f"join = {value}", instead="join = 200")
    with pytest.raises(ConfigError, match="join"):
        ingest.fn(str(workspace))


def test_many_small_experiences_are_worth_a_hint(workspace: Path) -> None:
    setting(workspace, "min_rows = 5", instead="join = 200")
    files = [(f"{i}.csv", kit.table(i + 2, 6)) for i in range(50)]
    found = bring(workspace, *files[:49])
    assert (len(known(workspace)), found.hint) == (49, None)
    more = [(f"more-{i}.csv", kit.table(i + 100, 6)) for i in range(50)]
    found = bring(workspace, *more)
    assert found.hint is not None
    assert "[data] join = 1000" in found.hint
