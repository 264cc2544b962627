"""docs/commands.md: every command, its help, its example, the keys of its JSON, exit codes."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from typing import Any

import pytest

from perdure import errors, records, running
from perdure.cli.demo.closing import Demonstration, Line
from perdure.records import forgetting, provenance, removal, safekeeping, schema
from tests.docs import pages, shapes

COMMANDS = (
    "init",
    "ingest",
    "schema",
    "retrain",
    "promote",
    "rollback",
    "pin",
    "unpin",
    "release",
    "quarantine",
    "evaluate",
    "status",
    "history",
    "show",
    "demo",
    "doctor",
    "up",
    "down",
    "logs",
    "open",
    "deploy",
    "worker",
    "backup",
    "restore",
    "prune",
    "migrate",
    "forget",
    "trace",
    "verify",
    "reproduce",
)
WITHOUT_RESULT = ("worker",)
"""Commands that work until they are ended."""

RECORDS: dict[str, type] = {
    "init": records.Initialised,
    "file": records.Ingested,
    "ingest": records.Ingest,
    "schema": schema.SchemaReport,
    "column": schema.SchemaColumn,
    "found": records.ColumnFound,
    "difference": schema.Difference,
    "data": records.DataRevision,
    "retrain": records.Retrained,
    "learned": records.Learned,
    "arrival": records.Arrival,
    "standing": records.Standing,
    "comparison": records.Comparison,
    "predicted": records.Predicted,
    "drift": records.Drift,
    "moved": records.ColumnDrift,
    "point": records.DriftPoint,
    "promote": records.Promoted,
    "rollback": records.RolledBack,
    "pin": records.Pinned,
    "unpin": records.Pinned,
    "release": records.SetAside,
    "quarantine": records.SetAside,
    "evaluate": records.Evaluated,
    "measured": records.Measured,
    "verdict": records.Verdict,
    "reason": records.Reason,
    "history": records.Event,
    "check": records.Check,
    "matrix": records.Matrix,
    "demo": Demonstration,
    "line": Line,
    "up": running.Running,
    "part": running.Part,
    "written": running.Written,
    "deploy": records.Deployed,
    "deployment": records.DeployedFlow,
    "automation": records.DeployedAutomation,
    "backup": safekeeping.BackedUp,
    "restore": safekeeping.Restored,
    "migrate": safekeeping.Migrated,
    "prune": removal.Pruned,
    "prunable": removal.Prunable,
    "forget": forgetting.Forgotten,
    "place": forgetting.FoundIn,
    "trace": provenance.Traced,
    "traced": provenance.TracedExperience,
    "version": provenance.TracedVersion,
    "waits": provenance.WaitingRows,
    "served": provenance.ServedThen,
    "refused": records.Quarantined,
    "verify": provenance.Verified,
    "reproduce": provenance.Reproduced,
    "machine": provenance.Machine,
}


def command(name: str) -> Any:
    return pages.generator().commands()[name]


def test_the_commands_are_those_that_are_listed_here() -> None:
    assert tuple(pages.generator().commands()) == COMMANDS
    assert set(pages.generator().names_in(pages.text("commands.md"))) == {
        "exit codes",
        *(f"command {name}" for name in COMMANDS),
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_sentence_an_example_json_and_a_section(name: str) -> None:
    found = command(name)
    assert re.fullmatch(r"[A-Z][^\n]*\.", found.help or "")
    example = shlex.split(pages.generator().example(found))
    assert example[:2] == ["perdure", name]
    assert all(parameter.help for parameter in found.params)
    page = pages.text("commands.md")
    assert f"\n## {name}\n\n<!-- generated: command {name} -->\n" in page
    result = name not in WITHOUT_RESULT
    assert any("--json" in parameter.opts for parameter in found.params) == result
    assert (f"<!-- shape: {name} -->" in page) == result


def test_the_exit_codes_are_those_of_the_code() -> None:
    part = pages.after("<!-- generated: exit codes -->\n", pages.text("commands.md"))
    assert {int(code): meaning for code, meaning in pages.rows(part)} == errors.EXIT_CODES
    tree = [errors.PerdureError]
    while tree:
        kind = tree.pop()
        tree += kind.__subclasses__()
        assert kind.exit_code in errors.EXIT_CODES


def test_a_scheduler_is_told_about_every_exit_code() -> None:
    part = pages.after("\n## Exit codes for a scheduler\n", pages.text("operations.md"))
    codes = [code for code, _ in pages.rows(part)]
    assert codes == [*map(str, errors.EXIT_CODES), "130 and above"]


@pytest.mark.parametrize("name", RECORDS)
def test_the_keys_are_the_fields_of_the_record(name: str) -> None:
    fields = [field.name for field in dataclasses.fields(RECORDS[name])]
    assert list(shapes.described()[name]) == fields


def test_every_type_is_one_that_is_described() -> None:
    known = shapes.described()
    assert len(known) >= len(COMMANDS)
    words = {kind for shape in known.values() for kind in shape.values()}
    assert words
    for word in words:
        inner = re.sub(r", or missing$", "", word)
        inner = re.sub(r"^(list of )+|^object by \w+ of ", "", inner)
        inner = inner if inner in shapes.ATOMS else inner.removesuffix(" or null")
        assert inner in shapes.ATOMS or inner in known, word


@pytest.mark.parametrize(
    "name", [name for name in COMMANDS if name not in {"demo", *WITHOUT_RESULT}]
)
def test_the_example_has_the_shape(name: str) -> None:
    after = pages.after(f"<!-- shape: {name} -->", pages.text("commands.md"))
    value = json.loads(next(pages.blocks(after, "json")))
    kind = "list of history" if name == "history" else name
    assert list(shapes.faults(value, kind, shapes.described())) == []


def test_a_value_of_another_shape_is_found_out() -> None:
    known = shapes.described()
    good = {"version": 1, "replaced": None, "forced": False, "changed": True}
    assert list(shapes.faults(good, "promote", known)) == []
    for wrong in (
        {**good, "version": "1"},
        {**good, "forced": None},
        {**good, "more": 1},
        {key: value for key, value in good.items() if key != "changed"},
        [good],
    ):
        assert len(list(shapes.faults(wrong, "promote", known))) == 1
    assert list(shapes.faults([{"at": "now"}], "list of check", known))
