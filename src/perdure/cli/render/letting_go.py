"""What was found of rows that are to be forgotten, for people."""

from __future__ import annotations

from perdure.cli.console import escape, out
from perdure.cli.render.words import counted, table
from perdure.records.forgetting import Forgotten


def forgotten(result: Forgotten) -> None:
    """`perdure forget`."""
    if not result.rows and not result.done:
        out.print("No such row was found.")
        _by_hand(result)
        return
    grid = table("where", ">rows", ">of", "becomes" if result.done else "would become")
    for one in result.experiences:
        grid.add_row(escape(one.place), str(one.rows), str(one.of), one.becomes or "nothing")
    for one in result.waiting:
        grid.add_row(f"{escape(one.place)} (waits)", str(one.rows), str(one.of), "the rest waits")
    for one in result.quarantine:
        grid.add_row(escape(one.place), str(one.rows), str(one.of), "nothing: it goes as a whole")
    if result.rows:
        out.print(grid)
    verb = "went" if result.done else "would go"
    if result.versions:
        names = ", ".join(map(str, result.versions))
        out.print(f"Versions that learned from them, which {verb} with their files: {names}")
    _serving(result)
    _by_hand(result)
    if result.done:
        out.print(f"The receipt is [bold]{escape(result.receipt or '')}[/]")
        return
    if result.inbox:
        out.print(f"{counted(result.inbox, 'file')} in the inbox would be ingested first.")
    out.print("Nothing was changed. To do it: the same command with [bold]--yes[/]")


def _serving(result: Forgotten) -> None:
    if not result.versions:
        return
    word = "is" if result.done else "would be"
    if result.champion is None:
        out.print(f"No version is left that never saw them: there {word} no champion meanwhile.")
    else:
        out.print(f"Champion meanwhile: version {result.champion}, which never saw them.")
    since = "a new learner" if result.challenger is None else f"version {result.challenger}"
    learned = "learned again" if result.done else "to be learned again"
    out.print(f"{counted(result.pending, 'experience')} {learned}, from {since} on.")


def _by_hand(result: Forgotten) -> None:
    if result.by_hand:
        out.print("What Perdure cannot do for you:")
    for one in result.by_hand:
        out.print(f"  [yellow]![/] {escape(one)}")
