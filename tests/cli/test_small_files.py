"""Files that wait for more rows, as the command line shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.flows.retrain import retrain
from tests.cli.conftest import Cli
from tests.docs import shapes
from tests.promises import kit


def test_ingest_status_and_show(cli: Cli, workspace: Path) -> None:
    kit.arrive(workspace, "1.csv", kit.table(2, 12))
    result = cli("ingest", "-w", workspace)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "· 1.csv: waits for more rows",
        "  12 rows wait; 30 make an experience (data.min_rows)",
    ]
    kit.arrive(workspace, "again.csv", kit.table(2, 12))
    result = cli("ingest", "-w", workspace)
    assert "again.csv: its content is here already, and waits for more rows; skipped" in result.out
    assert result.code == 0

    value = cli("status", "-w", workspace, "--json").json
    [one] = value["waiting_files"]
    assert (one["file"], one["rows"], one["joins"], value["min_rows"]) == ("1.csv", 12, True, 30)
    assert value["pending"] == [value["pending"][0]]
    lines = cli("status", "-w", workspace).out.splitlines()
    since = one["since"][:10]
    place = lines.index(f"  1 small file waits since {since}, with 12 rows; 30 make an experience")
    assert lines[place + 1] == "    1.csv, 12 rows"

    kit.arrive(workspace, "2.csv", kit.table(3, 20))
    result = cli("ingest", "-w", workspace, "--json")
    assert result.code == 0
    assert list(shapes.faults(result.json, "ingest", shapes.described())) == []
    [file] = result.json["files"]
    assert file["files"] == [{"file": "1.csv", "rows": 12}, {"file": "2.csv", "rows": 20}]
    assert cli("status", "-w", workspace, "--json").json["waiting_files"] == []
    retrain.fn(str(workspace))
    shown = cli("show", "2", "-w", workspace)
    assert "1.csv (12 rows), 2.csv (20 rows)" in shown.out
    value = cli("show", "2", "-w", workspace, "--json").json
    assert value["files"] == file["files"]
    assert len(cli("show", "1", "-w", workspace, "--json").json["files"]) == 1


def test_status_says_what_does_not_join(cli: Cli, workspace: Path) -> None:
    kit.arrive(workspace, "1.csv", kit.table(2, 12))
    cli("ingest", "-w", workspace)
    path = workspace / "schema.toml"
    text = path.read_text()
    column = '[columns.a]\nkind = "number"\nnullable = true'
    assert column in text
    path.write_text(text.replace(column, '[columns.a]\nkind = "ignore"'))
    assert cli("status", "-w", workspace, "--json").json["waiting_files"][0]["joins"] is False
    assert "1.csv, 12 rows: does not join as" in cli("status", "-w", workspace).out
    path.write_text("no schema")  # the doctor names it; status says what it can
    assert cli("status", "-w", workspace, "--json").json["waiting_files"][0]["joins"] is True


@pytest.mark.parametrize("command", [("release",), ("quarantine", "--reason", "sensor off")])
def test_a_file_that_waits_is_no_experience_yet(
    cli: Cli, workspace: Path, command: tuple[str, ...]
) -> None:
    kit.arrive(workspace, "1.csv", kit.table(2, 12))
    cli("ingest", "-w", workspace)
    result = cli(command[0], "1.csv", *command[1:], "-w", workspace)
    assert result.code == 2
    assert "1.csv is no experience yet: its 12 rows wait for those of other files" in result.err
    other = cli(command[0], "2.csv", *command[1:], "-w", workspace)
    assert other.code == 2
    assert "no experience yet" not in other.err


def test_init_with_few_rows_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    first, root = tmp_path / "first.csv", tmp_path / "workspace"
    first.write_text(kit.table(1, 20))
    result = cli("init", root, "--data", first, "--target", "kind")
    assert result.code == 0
    assert "20 rows wait; 30 make an experience" in result.out
    assert result.out.splitlines()[-1] == (
        "Next: perdure ingest FILE with more rows, for the first experience"
    )
    result = cli("retrain", "-w", root)
    assert (result.code, "Nothing is pending" in result.out) == (0, True)
    assert cli("status", "-w", root, "--json").json["experiences"] == 0


def test_joined_files_are_one_line_and_many_experiences_a_hint(cli: Cli, workspace: Path) -> None:
    path = workspace / "perdure.toml"
    text = path.read_text()
    path.write_text(text.replace("[training]", "join = 100\n\n[training]", 1))
    for number in (2, 3, 4):
        kit.arrive(workspace, f"{number}.csv", kit.table(number, 50))
    result = cli("ingest", "-w", workspace)
    assert result.code == 0
    lines = result.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "✓ 3.csv", "  50 rows of 1 file that waited joined", "✓ 4.csv", "Next",
    ]  # fmt: skip
    assert "100 rows" in lines[0]
    path.write_text(text.replace("[training]", "min_rows = 5\n\n[training]", 1))
    for number in range(50):
        kit.arrive(workspace, f"small-{number}.csv", kit.table(number + 10, 6))
    lines = cli("ingest", "-w", workspace).out.splitlines()
    assert [line for line in lines if line.startswith("Hint: ")] == [
        "Hint: 50 experiences have fewer than 500 rows, and each makes a version; "
        "[data] join = 1000 in perdure.toml makes fewer of the small files of one ingest"
    ]
    assert lines[-1].startswith("Next: ")
