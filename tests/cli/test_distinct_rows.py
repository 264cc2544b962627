"""How many rows are distinct: a word where it matters, and always in JSON."""

from __future__ import annotations

from pathlib import Path

from perdure.cli.render.words import rows_counted
from perdure.flows.retrain import retrain
from tests.cli.conftest import Cli
from tests.promises import kit

REPEATED = "".join(
    f"{value}.5,{value % 5}.5,{'red' if value % 2 else 'green'},{'yes' if value % 3 else 'no'}\n"
    for value in range(12)
)


def test_it_is_said_where_many_rows_are_equal() -> None:
    assert rows_counted(700, 12) == "700 rows, 12 of them distinct"
    assert rows_counted(700, 630) == "700 rows, 630 of them distinct"
    assert rows_counted(700, 631) == rows_counted(700, 700) == "700 rows"
    assert rows_counted(700, None) == "700 rows"
    assert rows_counted(1, 1) == "1 row"


def test_init_ingest_and_show(cli: Cli, tmp_path: Path) -> None:
    data, root = tmp_path / "few.csv", tmp_path / "workspace"
    data.write_text("a,b,colour,kind\n" + REPEATED * 20)
    result = cli("init", root, "--data", data, "--target", "kind", "--name", kit.MODEL)
    assert result.code == 0, result.err
    assert ", 240 rows, 12 of them distinct\n" in result.out
    kit.configure(root)
    kit.arrive(root, "2.csv", kit.steady(2, 60))
    kit.arrive(root, "3.csv", "a,b,colour,kind\n" + REPEATED * 10)
    lines = cli("ingest", "-w", root).out.splitlines()
    many, few = (next(line for line in lines if name in line) for name in ("2.csv", "3.csv"))
    assert many.endswith(", 60 rows")
    assert few.endswith(", 120 rows, 12 of them distinct")
    kit.arrive(root, "4.csv", kit.steady(4, 60))
    [file] = cli("ingest", "--json", "-w", root).json["files"]
    assert (file["rows"], file["distinct_rows"]) == (60, 60)
    retrain.fn(str(root))
    assert ", 240 rows, 12 of them distinct\n" in cli("show", "1", "-w", root).out
    shown = cli("show", "1", "--json", "-w", root).json
    assert (shown["rows"], shown["distinct_rows"]) == (240, 12)
    # What is shown of a version does not need the data.
    for file in (root / "data" / "experiences").glob("*.parquet"):
        file.unlink()
    shown = cli("show", "1", "--json", "-w", root).json
    assert (shown["rows"], shown["distinct_rows"]) == (None, None)
