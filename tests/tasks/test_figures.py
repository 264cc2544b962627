"""Figures are written, without a display, at any size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from perdure.records import DriftPoint, Epoch, Matrix, Trained
from perdure.tasks import figures


def some(count: int, metric: str = "accuracy") -> Matrix:
    values = tuple(
        tuple(
            0.5 + (row + column) / (4 * count) if column <= row else None for column in range(count)
        )
        for row in range(count)
    )
    return Matrix(metric, tuple(f"{n:06d}-1a2b3c4d" for n in range(count)), values)


@pytest.mark.parametrize("count", [1, 2, 25])
def test_a_matrix_of_any_size(tmp_path: Path, count: int) -> None:
    pixels = image.imread(figures.matrix(some(count), tmp_path / "matrix.png"))
    height, width = pixels.shape[:2]
    assert 400 < height < 2600
    assert 400 < width < 2800
    # Ink of several colours, not a blank sheet.
    assert len(np.unique((pixels[..., :3] * 255).astype(int).reshape(-1, 3), axis=0)) > 20


def texts(values: Matrix) -> list[str]:
    with figures._figure(5, 5) as figure:
        axes = figure.subplots()
        figures._draw(axes, values, None)
        return [text.get_text() for text in axes.texts]


def test_values_stand_in_the_cells_up_to_twenty_columns() -> None:
    assert texts(some(2)) == ["0.50", "0.62", "0.75"]
    assert len(texts(some(20))) == 210
    assert texts(some(21)) == []


def test_the_axes_name_the_experiences_by_their_number() -> None:
    with figures._figure(5, 5) as figure:
        axes = figure.subplots()
        figures._draw(axes, some(45), None)
        labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[-1] == "44"
    assert 10 < len(labels) <= 20


def test_bright_is_good_where_less_is_better() -> None:
    with figures._figure(5, 5) as figure:
        better, worse = figure.subplots(1, 2)
        assert figures._draw(better, some(3), None).get_cmap().name == "cividis"
        assert figures._draw(worse, some(3, "log_loss"), None).get_cmap().name == "cividis_r"


def test_matrices_side_by_side_share_a_scale(tmp_path: Path) -> None:
    path = figures.compared({"replay": some(3), "naive": some(4)}, tmp_path / "both.png")
    assert image.imread(path).shape[1] > image.imread(path).shape[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9, 0.0])
def test_strange_values_are_drawn(tmp_path: Path, value: float) -> None:
    matrix = Matrix("r2", ("000001-a", "000002-b"), ((value, None), (value, -3.0)))
    assert figures.matrix(matrix, tmp_path / "a.png").stat().st_size > 1000
    assert figures.compared({"a": matrix}, tmp_path / "b.png").stat().st_size > 1000


@pytest.mark.parametrize("validation", [None, 0.7])
def test_curves(tmp_path: Path, validation: float | None) -> None:
    epochs = tuple(Epoch(number, 1 / number, validation) for number in range(1, 6))
    path = figures.curves(Trained(epochs, 10, 0.1), tmp_path / "new" / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_of_the_process_is_changed(tmp_path: Path) -> None:
    """Neither matplotlib's settings nor its state for scripts, `pyplot`."""
    script = f"""
import sys
from pathlib import Path
import matplotlib
names = sorted(set(matplotlib.rcParams) - {{"backend"}})  # to read it is to choose one
before = [repr(matplotlib.rcParams[name]) for name in names]
from perdure.records import Matrix
from perdure.tasks import figures
figures.matrix(Matrix("accuracy", ("000001-a",), ((1.0,),)), Path({str(tmp_path)!r}) / "m.png")
assert [repr(matplotlib.rcParams[name]) for name in names] == before
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env=environment)
    assert (tmp_path / "m.png").exists()


def compared(columns: int, broken: tuple[str, ...] = (), name: str = "1") -> DriftPoint:
    ratios = {f"column {n}": 0.05 * n for n in range(columns)}
    return DriftPoint(name, "broken" if broken else "drifting", 1.5, ratios, broken)


@pytest.mark.parametrize(("columns", "experiences"), [(0, 1), (1, 1), (7, 33), (60, 100)])
def test_drift_of_any_size(tmp_path: Path, columns: int, experiences: int) -> None:
    history = [compared(columns, name=f"{n:06d}-1a2b3c4d") for n in range(experiences)]
    pixels = image.imread(figures.drift(history, tmp_path / "drift.png"))
    height, width = pixels.shape[:2]
    assert 250 < height < 2600
    assert 500 < width < 3200
    assert len(np.unique((pixels[..., :3] * 255).astype(int).reshape(-1, 3), axis=0)) > 20


def test_the_columns_that_moved_most_are_drawn_and_broken_ones_first() -> None:
    names = figures._most_moved([compared(60), compared(3, ("column 1",))])
    assert len(names) == figures.MOST_COLUMNS
    assert names[:3] == ["column 1", "column 59", "column 58"]
    cells, levels = figures._drift_cells([compared(60), compared(3, ("column 1",))], names)
    assert cells[0].tolist() == [pytest.approx(0.05), figures.TWICE]
    assert np.isnan(cells[1, 1])
    assert cells[-1].tolist() == [pytest.approx(1.5)] * 2
    assert levels[0, 1] == "broken"
