"""Names of files and columns that are links, tags, terminal codes, or turn the writing round."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from perdure import escaping
from perdure.cli import app, console
from perdure.cli.render import words
from perdure.flows.ingest import ingest
from perdure.flows.initialise import initialise
from perdure.flows.retrain import retrain
from perdure.orchestration import engine
from perdure.records import Event
from perdure.service.notify import receivers
from perdure.service.notify.message import Message
from perdure.service.notify.notice import Notice
from perdure.tasks.registry import history
from tests.promises import kit
from tests.service.notify.kit import workspace as notified
from tests.service.notify.receivers import http_receiver

NAMES = (
    "[a](https://evil.example)",
    "![b](https://evil.example?x)",
    "](javascript:alert(1))",
    "<script>alert(1)<script>",
    "<img src=x onerror=alert(1)>",
    "c\x1b[2J\x1b]8;;https:evil.example\x07click\x1b]8;;\x07",
    "d\x9b31m",
    "invoice\u202efdp.exe",
    "two\nlines | of | cells",
    "# heading `code` *bold* ~~gone~~ $x$",
    "<@U123> &lt;b&gt;",
    r"price in $\frac{$",
)
PLAIN = {
    "paragraph_open", "paragraph_close", "inline", "text", "table_open", "table_close",
    "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open",
    "th_close", "td_open", "td_close", "bullet_list_open", "bullet_list_close", "list_item_open",
    "list_item_close", "softbreak", "text_special",
}  # fmt: skip
"""What the pages are made of, besides headings, code and bold text of ours."""


def tokens(page: str) -> Iterator[Token]:
    """All that a parser of CommonMark, with tables and strikethrough, sees in a page."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for token in parser.parse(page):
        yield token
        yield from token.children or ()


def kinds(page: str) -> set[str]:
    return {token.type for token in tokens(page)}


def text_of(page: str) -> str:
    return "".join(t.content for t in tokens(page) if t.type in ("text", "text_special"))


def harmless(text: str) -> bool:
    return all(c.isprintable() or c in "\n" for c in text)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_plain_text_in_markdown(name: str) -> None:
    cell = f"| x |\n|---|\n| {escaping.markdown(name)} |"
    for page in (f"a {escaping.markdown(name)} b", f"- {escaping.markdown(name)}", cell):
        assert kinds(page) <= PLAIN
        assert escaping.printable(" ".join(name.split())) in text_of(page)
    assert kinds(escaping.markdown_code(name)) == {
        "paragraph_open", "inline", "code_inline", "paragraph_close",
    }  # fmt: skip


def test_the_control_names_are_more_than_text() -> None:
    found = set().union(*(kinds(f"a {name} b") for name in NAMES))
    assert found >= {"link_open", "image", "html_inline", "code_inline", "em_open", "s_open"}
    assert not all(map(harmless, NAMES))


@given(st.text(max_size=40))
def test_any_text_is_plain_text(text: str) -> None:
    shown = escaping.markdown(text)
    for page in (f"- {shown}", f"| x |\n|---|\n| {shown} |"):
        assert kinds(page) <= PLAIN
        joined = escaping.printable(" ".join(text.split()))
        assert text_of(page).strip().removeprefix("x") == joined.strip()
    for one in (escaping.printable(text), escaping.html(text)):
        assert all(c.isprintable() or c in "\u200c\u200d" for c in one)
    lines = json.dumps({text: text}, ensure_ascii=False)
    assert json.loads(escaping.json(lines)) == {text: text}


def table_of(names: tuple[str, ...], rows: int, seed: int = 0) -> str:
    """A CSV whose columns have these names; its target is `kind`."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, len(names)))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([*names, "kind"])
    writer.writerows([[*row, "yes" if row[0] > 0 else "no"] for row in values.round(4).tolist()])
    return file.getvalue()


COLUMNS = tuple(name for name in NAMES if "\n" not in name)
"""A table with a line end in a name is refused whole."""
FILES = tuple(name.replace("/", "%") for name in NAMES)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with such columns and files: two versions, and files that were refused."""
    root = tmp_path_factory.mktemp("named") / "workspace"
    first = root.parent / "first.csv"
    first.write_text(table_of(COLUMNS, 200), encoding="utf-8")
    initialise(root, first, "kind", name=kit.MODEL)
    kit.configure(root)
    retrain.fn(str(root))
    kit.arrive(root, "second.csv", table_of(COLUMNS, 200, 1))
    ingest.fn(str(root))
    retrain.fn(str(root))
    for number, name in enumerate(FILES):
        wrong = (f"{name}!", *COLUMNS[1:])
        kit.arrive(root, f"{number} {name}.csv", table_of(wrong, 50, number + 2))
    return root


def test_a_page_of_prefects_has_names_as_text(
    named: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so has the terminal, in words and as JSON."""
    results = []
    monkeypatch.setattr(engine, "report", lambda *a: results.append(a[2]))
    monkeypatch.setattr(sys, "argv", ["perdure", "ingest", "-w", str(named)])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 3
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert harmless(text)
    assert r"two\nlines" in shown.out
    assert r"invoice\u202efdp.exe" in shown.out
    [page] = results
    assert kinds(page) <= PLAIN
    assert sum(token.type == "tr_open" for token in tokens(page)) == 1 + len(FILES)
    for name in FILES:
        assert escaping.printable(" ".join(name.split())) in text_of(page)


def test_every_command_shows_names_as_text(
    named: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked in (["status"], ["schema"], ["show", "2"], ["show", "2", "--json"], ["history"]):
        monkeypatch.setattr(sys, "argv", ["perdure", *asked, "-w", str(named)])
        with pytest.raises(SystemExit):
            app.main()
        shown = capsys.readouterr()
        assert harmless(shown.out + shown.err), asked
        if asked[0] in ("show", "schema"):
            assert "fdp.exe" in shown.out


def test_the_descriptions_at_mlflow_have_names_as_text(named: Path) -> None:
    registry = kit.registry(named)
    whole = registry.client.call("get_registered_model", registry.name).description
    version = registry.client.call("get_model_version", registry.name, "2").description
    for page in (whole, version):
        assert kinds(page) <= PLAIN | {
            "code_inline", "strong_open", "strong_close", "heading_open", "heading_close",
        }  # fmt: skip
    assert any(escaping.printable(name) in text_of(version) for name in COLUMNS)


@pytest.mark.parametrize("name", NAMES)
def test_a_reason_in_the_history_is_text(name: str) -> None:
    event = Event("2026-11-30T00:00:00+00:00", "held", None, None, name, reason=name, by=name)
    assert kinds(history.sentence(event)) <= PLAIN | {
        "code_inline", "strong_open", "strong_close",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_printed_moves_no_cursor(name: str) -> None:
    """Also what no command has escaped, such as a line of a log."""
    file = io.StringIO()
    shown = type(console.out)(file=file, width=400)
    shown.print(f"a {name} b\nc", markup=False)
    grid = words.table("name")
    grid.add_row(console.escape(name))
    shown.print(grid)
    assert harmless(file.getvalue())
    assert harmless(name) == (name in file.getvalue())
    plain = io.StringIO()
    Console(file=plain, width=400).print(name, markup=False)  # the control
    assert harmless(plain.getvalue()) == harmless(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_in_slack_is_text(name: str, tmp_path: Path) -> None:
    happened = Message("held", "weather", "2026-11-30", "/srv", reason=name, file=name, by=name)
    with http_receiver() as box:
        ws = notified(tmp_path / "ws", f'kind = "slack"\nurl = "{box.url}/hooks/abcdef"')
        for receiver in receivers.configured(ws):
            receiver.send(Notice("2026-11-30", (happened,), ()))
    [post] = box.posts
    assert harmless(post["text"])
    assert "<" not in post["text"]
    assert post["text"].count("\n") == happened.body.count("\n") == 4
    assert harmless(happened.subject)
    assert "\n" not in happened.subject
