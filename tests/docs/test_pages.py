"""Links, paths, names and command lines in the documentation lead somewhere; the ADR index."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages

ADRS = tuple(sorted((pages.DOCS / "adr").glob("0*.md")))

page = pytest.mark.parametrize("path", pages.PAGES, ids=lambda path: path.name)


def test_the_pages_are_these() -> None:
    assert [path.name for path in pages.PAGES if path.parent == pages.DOCS] == [
        "architecture.md",
        "benchmarks.md",
        "commands.md",
        "configuration.md",
        "gates.md",
        "operations.md",
        "scale-out.md",
        "scale.md",
        "security.md",
        "strategies.md",
    ]
    assert len(ADRS) >= 12


@page
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        other = (path.parent / file).resolve() if file else path
        assert other.is_file(), target
        if anchor:
            assert anchor in pages.anchors(other.read_text(encoding="utf-8")), target


@page
def test_every_path_and_name_is_there(path: Path) -> None:
    words = re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))
    for word in words:
        if re.fullmatch(r"(src|flows|tasks|strategies|tests|docs)/[\w./]*", word):
            assert (pages.ROOT / word).exists() or "NAME" in word, word
        if re.fullmatch(r"perdure(\.[a-z_]+)+", word) and not _is_told(word):
            assert _resolves(word), word


def _is_told(word: str) -> bool:
    """MLflow's tags and Prefect's events begin with the same word."""
    from perdure.orchestration import events
    from perdure.tasks.registry import codec
    from perdure.tasks.registry.migrating.ends import COPY_OF

    tags = {codec.INTENT, codec.EVENTS, codec.LAST_CHANGE, codec.RECORDED, codec.TOURNAMENT}
    tags |= {codec.FINDINGS, codec.REMOVED, codec.COPYING, codec.COPIED, codec.CREATED, COPY_OF}
    tags.add(events.BY)
    return word in tags | set(typing.get_args(events.EventName)) | {
        "perdure.toml",
        "perdure.model.weather",
    }


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute, None)
        return found is not None
    return False


def functions() -> Iterator[tuple[str, str]]:
    """`module.function` in architecture.md, for the modules of flows and tasks."""
    text = pages.text("architecture.md")
    yield from re.findall(r"`(\w+)\.(\w+)`", text)


def test_the_functions_of_the_walk_are_there() -> None:
    modules = {path.stem: path for room in ("flows", "tasks") for path in _python(room)}
    modules |= {path.parent.name: path for path in (pages.ROOT / "tasks").rglob("__init__.py")}
    seen = 0
    for module, function in functions():
        if module in modules and function not in {"py", "json", "toml", "md"}:
            assert re.search(rf"\b{function}\b", modules[module].read_text("utf-8")), (
                f"{module}.{function}"
            )
            seen += 1
    assert seen >= 15
    registry = (pages.ROOT / "tasks" / "registry" / "__init__.py").read_text("utf-8")
    methods = {name for module, name in functions() if module == "Registry"}
    assert methods >= {"read", "register", "apply", "recover"}
    for method in methods:
        assert f"    def {method}(" in registry


def _python(room: str) -> list[Path]:
    return [p for p in (pages.ROOT / room).rglob("*.py") if p.name != "__init__.py"]


def command_lines() -> list[str]:
    found = []
    for path in pages.PAGES:
        text = path.read_text(encoding="utf-8")
        found += [line for block in pages.blocks(text, "sh") for line in block.splitlines()]
        found += re.findall(r"`(perdure [^`\n]+)`", text)
    parts = (part for line in found for part in re.split(r"&&|;", line))
    return [p[p.index("perdure ") :] for p in map(str.strip, parts) if "perdure " in p]


def test_every_command_line_has_commands_and_options_that_exist() -> None:
    known = pages.generator().commands()
    lines = command_lines()
    assert len(lines) >= 30
    for line in lines:
        _, *words = shlex.split(line)
        if words[0] in {"--help", "--version", "--verbose"}:
            continue
        assert words[0] in known, line
        options = {name for p in known[words[0]].params for name in p.opts}
        used = {word for word in words[1:] if word.startswith("-")}
        assert used <= options, line


@page
def test_python_examples_are_python_and_no_path_is_of_this_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in pages.blocks(text, "python"):
        ast.parse(block)
    assert not re.search(r"(?<![\w.])/(work|opt|root|tmp)/|pypi\.org|TODO", text)


def test_the_index_lists_every_decision_by_its_title() -> None:
    rows = pages.rows(pages.text("adr/README.md"))
    assert [int(number) for number, _ in rows] == list(range(1, len(ADRS) + 1))
    for (number, link), path in zip(rows, ADRS, strict=True):
        title, _, body = path.read_text(encoding="utf-8").partition("\n")
        assert path.name.startswith(f"{int(number):04d}-")
        assert link == f"[{title.removeprefix(f'# {number}. ')}]({path.name})"
        assert re.findall(r"^## (.*)$", body, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]
