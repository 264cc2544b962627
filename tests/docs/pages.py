"""The documentation's pages, read as a person would: tables, blocks, headings, links."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = tuple(sorted(DOCS.rglob("*.md")))
_CELL = re.compile(r"(?<!\\)\|")


def text(name: str) -> str:
    """A page by its name in docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


@cache
def generator() -> Any:
    """`docs/generate.py` as a module."""
    spec = importlib.util.spec_from_file_location("perdure_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(part: str) -> list[list[str]]:
    """The cells of the first table of a text, without its head."""
    found: list[list[str]] = []
    for line in part.splitlines():
        if line.startswith("|"):
            found.append([cell.strip() for cell in _CELL.split(line.strip())[1:-1]])
        elif found:
            break
    return found[2:]


def after(mark: str, page: str) -> str:
    """What follows a mark, which must stand there once."""
    _, found, rest = page.partition(mark)
    assert found, f"{mark!r} is missing"
    assert mark not in rest, f"{mark!r} stands there twice"
    return rest


def blocks(page: str, language: str) -> Iterator[str]:
    """The fenced blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def anchors(page: str) -> set[str]:
    """What a link may point to inside a page, as GitHub makes it from headings."""
    plain = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
    # Of headings that are alike the second has a 1 at its end, the third a 2 ...
    return {
        f"{slug}-{slugs[:place].count(slug)}" if slug in slugs[:place] else slug
        for place, slug in enumerate(slugs)
    }
