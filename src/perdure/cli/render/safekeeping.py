"""Backups and what was made of them, for people."""

from __future__ import annotations

from rich.markup import escape

from perdure.cli import console
from perdure.records.safekeeping import BackedUp, Restored


def backed_up(result: BackedUp) -> None:
    """`perdure backup`."""
    say = console.out.print
    say(f"Backed up to [bold]{escape(result.path)}[/]")
    say(
        f"{result.files} files, {_size(result.size)}; {_size(result.copied)} of it copied, "
        "the rest is that of the backup before."
        if result.copied < result.size
        else f"{result.files} files, {_size(result.size)}."
    )
    say(_model(result.versions, result.champion))
    for name in result.left_out:
        say(f"Left out: {escape(name)}", style="yellow")
    _lacks(result.lacks)
    for name in result.removed:
        say(f"Removed {escape(name)}", style="dim")


def restored(result: Restored) -> None:
    """`perdure restore`."""
    say = console.out.print
    say(f"[bold]{escape(result.path)}[/] is the model {escape(result.model)} as of {result.at}")
    say(f"{_model(result.versions, result.champion)} {result.experiences} experiences.")
    _lacks(result.lacks)
    say(f"→ perdure status --workspace {escape(result.path)}", style="dim")


def _model(versions: int, champion: int | None) -> str:
    serving = "no champion" if champion is None else f"version {champion} is the champion"
    return f"{versions} versions; {serving}."


def _lacks(lacks: tuple[str, ...]) -> None:
    for what in lacks:
        console.out.print(f"Not in it: {escape(what)}", style="yellow")


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
