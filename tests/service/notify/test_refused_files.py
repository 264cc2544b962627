"""Files of which a tenth or more is refused: people are notified, at least once."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from perdure import config, running
from perdure.flows import ingest as flows
from perdure.records import Ingest
from perdure.service.notify.after import notify_after
from perdure.service.notify.dispatch import send_pending
from perdure.tasks import data_versions, experiences
from tests.promises import kit
from tests.service.notify.kit import to
from tests.service.notify.receivers import Letterbox, http_receiver


def workspace(tmp_path: Path, box: Letterbox) -> Path:
    root = kit.make(tmp_path / "workspace", more=f"\n[[notify]]\n{to(box)}\n")
    send_pending(config.read(root))  # from here on
    return root


def notes(root: Path) -> list[Path]:
    return list((root / ".perdure" / "up" / "refused").glob("*"))


def ingest(root: Path) -> Ingest:
    """As the command does it."""
    with notify_after(str(root)):
        return flows.ingest.fn(str(root))


def test_a_tenth_of_refused_rows_is_notified_and_less_is_not(tmp_path: Path) -> None:
    with http_receiver() as box:
        root = workspace(tmp_path, box)
        kit.arrive(root, "one.csv", kit.partly(2))
        ingest(root)
        assert box.got == []
        kit.arrive(root, "few.csv", kit.few(3))
        kit.arrive(root, "other.csv", kit.table(4).replace("a,b,", "a,c,"))
        ingest(root)
        assert [result["event"] for result in box.posts] == ["held", "held"]
        assert [result["text"] for result in box.posts] == [
            "small: 6 of 60 rows (10%) of few.csv were refused",
            "small: other.csv was refused whole, with 60 rows",
        ]
        assert box.posts[1]["reason"] == "missing column 'b'"
        kit.arrive(root, "few-again.csv", kit.few(3))
        ingest(root)
        assert len(box.got) == 2


@pytest.mark.parametrize(
    ("module", "name", "outcome"),
    [(experiences, "write_experience", "ingested"), (data_versions, "add_and_push", "known")],
)
def test_a_notice_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, outcome: str
) -> None:
    """Before the experience is written, and before the data is recorded."""

    def cut_short(*_arguments: object, **_more: object) -> None:
        raise KeyboardInterrupt

    with http_receiver() as box:
        root = workspace(tmp_path, box)
        kit.arrive(root, "few.csv", kit.few(3))
        with monkeypatch.context() as patch:
            patch.setattr(module, name, cut_short)
            with pytest.raises(KeyboardInterrupt):
                flows.ingest.fn(str(root))
        assert len(notes(root)) == 1
        assert box.got == []
        (one,) = ingest(root).files
        assert one.outcome == outcome
        assert [result["event"] for result in box.posts] == ["held"]


def test_what_runs_here_sends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside `perdure up` an ingest leaves the note for it."""
    with http_receiver() as box:
        root = workspace(tmp_path, box)
        kit.arrive(root, "few.csv", kit.few(3))
        with monkeypatch.context() as patch:
            patch.setattr(running, "read", lambda _state: object())
            ingest(root)
        assert box.got == []
        for _ in range(2):
            send_pending(config.read(root))
            assert len(box.got) == 1


def test_without_receivers_nothing_is_noted(tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace")
    kit.arrive(root, "few.csv", kit.few(3))
    ingest(root)
    assert notes(root) == []


def test_a_note_that_cannot_be_read_is_removed(tmp_path: Path) -> None:
    with http_receiver() as box:
        root = workspace(tmp_path, box)
        folder = root / ".perdure" / "up" / "refused"
        folder.mkdir(parents=True)
        (folder / "9999.json").write_text("{")
        send_pending(config.read(root))
        assert notes(root) == []
        assert box.got == []
