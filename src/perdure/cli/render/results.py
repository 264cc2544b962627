"""What the commands that change something did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape

from perdure import arrival_table, drift_table, verdict_table
from perdure.cli.console import out
from perdure.cli.render.words import (
    BAD,
    GOOD,
    MARKS,
    NOTED,
    counted,
    main_metric,
    number,
    table,
    verdict_grid,
    verdict_word,
)
from perdure.records import (
    Check,
    Evaluated,
    Ingest,
    Ingested,
    Initialised,
    Learned,
    Pinned,
    Promoted,
    Retrained,
    RolledBack,
    SetAside,
)

FEW = 5
"""So many reasons are shown; all of them stand in a file."""


def initialised(result: Initialised) -> None:
    """A new workspace."""
    place, model = escape(result.workspace), escape(result.model)
    out.print(f"[bold]{place}[/] is a workspace for the model [bold]{model}[/] ({result.task}).")
    file_line(result.first)
    out.print("Next: look at perdure.toml and schema.toml, then [bold]perdure retrain[/]")


def ingested(result: Ingest) -> None:
    """What became of files."""
    if not result.files:
        out.print("The inbox is empty: nothing to ingest.")
        return
    for one in result.files:
        file_line(one)
    if any(one.outcome == "ingested" for one in result.files):
        out.print("Next: [bold]perdure retrain[/]")


def file_line(one: Ingested, indent: str = "") -> None:
    """What became of one file."""
    name = escape(one.file)
    if one.outcome == "ingested":
        rows = counted(one.rows, "row")
        out.print(f"{indent}{GOOD} {name}: experience [bold]{one.experience}[/], {rows}")
    elif one.outcome == "known":
        out.print(f"{indent}· {name}: its content is here already, as {one.experience}; skipped")
    else:
        out.print(f"{indent}{BAD} {name}: refused, and put into quarantine whole")
    if one.refused_rows and one.outcome != "quarantined":
        share = f"{one.refused_share:.0%}" if one.refused_share >= 0.01 else "less than 1%"
        refused = f"{counted(one.refused_rows, 'row')} ({share} of the file)"
        out.print(f"{indent}  {refused} refused, and put into quarantine")
    for note in one.notes:
        out.print(f"{indent}  {escape(note)}")
    for reason in one.reasons[:FEW]:
        out.print(f"{indent}  {escape(reason)}")
    if len(one.reasons) > FEW:
        out.print(f"{indent}  … and {len(one.reasons) - FEW} more")
    if one.folder:
        out.print(f"{indent}  all reasons: {escape(one.folder)}/reasons.csv")


def retrained(result: Retrained) -> None:
    """What a retraining did."""
    if not result.learned:
        out.print("Nothing is pending: every experience is learned or held.")
    else:
        shown = table("experience", ">version", "verdict", ">before", ">average", ">forgetting")
        for one in result.learned:
            shown.add_row(
                one.experience,
                str(_moved_to(one) or one.version or "–"),
                verdict_word(one),
                number(main_metric(one.prequential)),
                number(main_metric(one.average)),
                number(one.forgetting),
            )
        out.print(shown)
        for one in result.learned:
            learned(one)
    out.print(f"Champion: {_version(result.champion)}. Challenger: {_version(result.challenger)}.")
    if result.challenger != result.champion:
        out.print(f"Next: [bold]perdure promote {result.challenger}[/]")
    if result.profile:
        out.print(f"Profile: {escape(result.profile)}", soft_wrap=True)
    if any(one.kept_back for one in result.learned):
        out.print("What is held stays out of training until [bold]perdure release ID[/].")


def learned(one: Learned, indent: str = "") -> None:
    """What became of one experience, in a sentence where it is more than a promotion."""
    for mark, words in _sentences(one):
        out.print(f"{indent}{mark} {one.experience}: {escape(words)}")


def _sentences(one: Learned) -> Iterator[tuple[str, str]]:
    shown = one.arrival
    if shown is not None and shown.action == "promoted":
        yield (
            GOOD,
            f"version {shown.version}, refused before, is better than the champion "
            f"({arrival_table.proof(shown)}): it serves now, and training goes on from it",
        )
    elif shown is not None and shown.action == "rolled back":
        yield (
            NOTED,
            f"version {shown.version} is better than the champion, version {shown.champion} "
            f"({arrival_table.proof(shown)}): the model went back to it by itself",
        )
    elif one.version is None:  # broken, or it cannot be learned at all
        reason = "; ".join(one.reasons).removeprefix("broken: ")
        broken = shown is not None and shown.action == "held"
        yield BAD, f"{'broken, and ' if broken else ''}held before it was learned: {reason}"
    else:
        for reason in one.reasons:
            yield BAD, reason
    if one.verdict == "refused" and one.version is not None:
        yield NOTED, f"version {one.version} is tried on what arrives next"
    if shown is not None and one.verdict != "postponed":
        for version, why in zip(shown.let_go, shown.reasons, strict=True):
            yield NOTED, f"version {version} is tried no longer: {why}"
    if one.drift is not None and one.drift.level == "drifting" and one.verdict != "postponed":
        yield NOTED, drift_table.summary(one.drift)


def _moved_to(one: Learned) -> int | None:
    return one.arrival.version if one.verdict == "postponed" and one.arrival else None


def promoted(result: Promoted, indent: str = "") -> None:
    """A promotion by hand."""
    if not result.changed:
        out.print(f"{indent}Version {result.version} is the champion already.")
        return
    how = " against the gates" if result.forced else ""
    out.print(f"{indent}{GOOD} Version [bold]{result.version}[/] is the champion{how}.")
    before = _version(result.replaced)
    out.print(f"{indent}  It replaced {before}; take it back: [bold]perdure rollback[/]")


def pinned(result: Pinned) -> None:
    """The anchor, pinned or unpinned."""
    if not result.pinned:
        out.print(f"{GOOD} Version {result.version} is pinned no longer.")
        out.print("  The next promotion sets an anchor again.")
    elif not result.changed:
        out.print(f"Version {result.version} is pinned already.")
    else:
        out.print(f"{GOOD} Version [bold]{result.version}[/] is the anchor until perdure unpin.")
        out.print("  The champion is measured beside it on every arriving experience.")


def rolled_back(result: RolledBack, indent: str = "") -> None:
    """A rollback."""
    if not result.changed:
        out.print(f"{indent}Version {result.version} is champion and challenger already.")
        return
    out.print(
        f"{indent}{GOOD} Version [bold]{result.version}[/] is the champion, instead of "
        f"{_version(result.replaced)}: weights, memory and place in the data."
    )
    if result.held:
        held = ", ".join(result.held)
        out.print(f"{indent}  held, as only the abandoned versions had learned them: {held}")
        out.print(f"{indent}  free them: [bold]perdure release ID[/]")


def released(result: SetAside) -> None:
    """Experiences pending again."""
    out.print(f"{GOOD} pending again: {', '.join(result.experiences)}")
    out.print("Next: [bold]perdure retrain[/]")


def quarantined(result: SetAside) -> None:
    """Experiences set aside."""
    out.print(f"{GOOD} in quarantine: {', '.join(result.experiences)}")
    out.print("Free them: [bold]perdure release ID[/]")


def evaluated(result: Evaluated, gates: bool) -> None:
    """A version beside the champion, and what the gates say: in short, or with every number."""
    champion = result.champion_metrics
    shown = table("metric", f">version {result.version}", f">champion {result.champion or ''}")
    for name, value in result.metrics.average.items():
        shown.add_row(name, number(value), number(champion.average[name] if champion else None))
    out.print(shown)
    experiences = counted(len(result.metrics.by_experience), "experience")
    out.print(f"Averages over {experiences}, {counted(result.rows, 'test row')}.")
    if gates:
        out.print(f"By today's limits: {verdict_table.summary(result.verdict)}.")
        out.print(verdict_grid(result.verdict))
        for message in result.verdict.refusals:
            out.print(f"{BAD} {escape(message)}")
        return
    for reason in result.verdict.reasons:
        out.print(f"{MARKS[reason.answer]} {escape(reason.message)}")


def examined(checks: Sequence[Check]) -> None:
    """The doctor's findings, one line each."""
    for check in checks:
        mend = f"  → [bold]{escape(check.mend)}[/]" if check.mend else ""
        mark = BAD if not check.ok else NOTED if check.mend else GOOD
        out.print(f"{mark} {check.name:<10} {escape(check.detail)}{mend}")


def _version(number: int | None) -> str:
    return "none" if number is None else f"version {number}"
