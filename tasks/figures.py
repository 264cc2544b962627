"""Figures for people: the accuracy matrix, the training curves and drift, as PNG files.

Colours are those of Okabe and Ito and the map `cividis`, which people with a colour-vision
deficiency read as everybody else does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure import escaping
from perdure.config import LOWER_IS_BETTER
from perdure.records import DriftPoint, Matrix, Trained

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

WRITTEN_OUT = 20
"""Up to this many experiences every cell shows its value."""
MOST_COLUMNS = 40
"""Columns that the figure of drift shows, those that moved most."""
TWICE = 2.0
"""So many thresholds and more are the end of its scale."""
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
DPI = 150
COMPRESSION = 1
"""Compression level of PNG, 1 to 9. More takes several times as long, for hardly a gain."""


def matrix(values: Matrix, path: Path, title: str = "What the model knows, and when") -> Path:
    """Draw the matrix of a metric: rows, after which experience; columns, on which.

    Args:
        values: The matrix; cells without a value stay blank.
        path: A `.png` file to write.
        title: Above the picture.
    """
    side = _side(values)
    with _figure(side + 1.4, side) as figure:
        axes = figure.subplots()
        image = _draw(axes, values, None)
        _colour_bar(figure, image, axes, values.metric)
        axes.set_title(title, loc="left", fontweight="bold", pad=12)
        axes.set_ylabel("after learning experience")
        _save(figure, path)
    return path


def compared(
    matrices: Mapping[str, Matrix], path: Path, title: str = "What is known, and what forgotten"
) -> Path:
    """Draw matrices of one metric side by side, on one scale.

    Args:
        matrices: By what they show, such as the strategy; at least one.
        path: A `.png` file to write.
        title: Above the picture.
    """
    shown = list(matrices.values())
    found = [cell for one in shown for row in one.values for cell in row if cell is not None]
    finite = [cell for cell in found if math.isfinite(cell)] or [0.0]
    limits = (min(finite), max(finite))
    side = max(map(_side, shown))
    with _figure(side * len(shown) + 1.0, side + 0.5) as figure:
        every = list(figure.subplots(1, len(shown), squeeze=False)[0])
        for axes, (name, one) in zip(every, matrices.items(), strict=True):
            image = _draw(axes, one, limits)
            axes.set_title(name, loc="left")
        every[0].set_ylabel("after learning experience")
        _colour_bar(figure, image, every, shown[0].metric)
        figure.suptitle(title, fontweight="bold")
        _save(figure, path)
    return path


def curves(trained: Trained, path: Path, title: str = "Training") -> Path:
    """Draw the training and validation loss over the epochs.

    Args:
        trained: What the training did; at least one epoch.
        path: A `.png` file to write.
        title: Above the picture.
    """
    from matplotlib.ticker import MaxNLocator

    with _figure(6.4, 4.0) as figure:
        axes = figure.subplots()
        numbers = [epoch.number for epoch in trained.epochs]
        losses = [epoch.loss for epoch in trained.epochs]
        axes.plot(numbers, losses, color=BLUE, marker="o", markersize=4, label="training")
        watched = [(e.number, e.validation_loss) for e in trained.epochs]
        valid = [(number, loss) for number, loss in watched if loss is not None]
        if valid:
            axes.plot(
                [number for number, _ in valid],
                [loss for _, loss in valid],
                color=ORANGE,
                marker="s",
                markersize=4,
                linestyle="--",
                label="validation",
            )
        axes.set_title(title, loc="left", fontweight="bold", pad=12)
        axes.set_xlabel("epoch")
        axes.set_ylabel("mean loss per row")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        _save(figure, path)
    return path


def drift(
    history: Sequence[DriftPoint], path: Path, title: str = "Which columns drift, and when"
) -> Path:
    """Draw how far each column was from what the champion knew: columns by experiences.

    The colour is the distance in units of its threshold, up to twice of it, also of what is
    broken; a dot marks what is drifting, a cross what is broken. Blank: the column was not
    compared. The columns that moved most stand first, all columns together last.

    Args:
        history: Comparisons of experiences, the oldest first; at least one.
        path: A `.png` file to write.
        title: Above the picture.
    """
    from matplotlib.lines import Line2D

    names = _most_moved(history)
    count, across = len(names) + 1, len(history)
    width = min(15.0, max(5.6, 2.6 + 0.32 * across))
    with _figure(width + 0.12 * max(map(len, names), default=0), 1.9 + 0.27 * count) as figure:
        axes = figure.subplots()
        cells, levels = _drift_cells(history, names)
        import numpy as np

        image = axes.imshow(
            np.ma.masked_invalid(cells), cmap="cividis", aspect="auto", vmin=0.0, vmax=TWICE
        )
        size = min(7.0, max(2.5, 160.0 / across))
        for level, mark, colour in (("drifting", "o", "black"), ("broken", "X", ORANGE)):
            places = [(x, y) for (y, x), found in levels.items() if found == level]
            axes.plot(
                [x for x, _ in places],
                [y for _, y in places],
                linestyle="none",
                marker=mark,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.6,
                markersize=size if level == "drifting" else size * 1.4,
            )
        _name_ticks(axes, tuple(one.experience for one in history))
        axes.set_yticks(range(count), [*map(_cut, names), "all together"])
        axes.set_xlim(-0.5, across - 0.5)
        axes.set_ylim(count - 0.5, -0.5)  # the ticks of experiences have widened it
        axes.axhline(len(names) - 0.5, color="white", linewidth=2.5)
        axes.set_xlabel("experience")
        axes.set_title(title, loc="left", fontweight="bold", pad=24)
        marks = [
            Line2D([], [], linestyle="none", marker=mark, color=colour, label=label)
            for mark, colour, label in (("o", "black", "drifting"), ("X", ORANGE, "broken"))
        ]
        axes.legend(
            handles=marks,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            frameon=False,
            borderpad=0,
            borderaxespad=0.3,
            handletextpad=0.2,
        )
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, extend="max")
        bar.set_label("distance / threshold")
        bar.outline.set_visible(False)
        _save(figure, path)
    return path


def _most_moved(history: Sequence[DriftPoint]) -> list[str]:
    """Names of the columns that were farthest, in units of their thresholds; broken ones first."""
    farthest: dict[str, tuple[bool, float]] = {}
    for one in history:
        for name, ratio in one.columns.items():
            broken, most = farthest.get(name, (False, 0.0))
            farthest[name] = (broken or name in one.broken, max(most, ratio))
    ranked = sorted(farthest, key=lambda name: (not farthest[name][0], -farthest[name][1], name))
    return ranked[:MOST_COLUMNS]


def _drift_cells(
    history: Sequence[DriftPoint], names: Sequence[str]
) -> tuple[NDArray[np.float64], dict[tuple[int, int], str]]:
    """Distances in units of thresholds, (columns + 1, experiences), and the levels by place."""
    import numpy as np

    cells = np.full((len(names) + 1, len(history)), math.nan)
    levels: dict[tuple[int, int], str] = {}
    for x, one in enumerate(history):
        for y, name in enumerate(names):
            if name in one.columns:
                broken, ratio = name in one.broken, one.columns[name]
                cells[y, x] = TWICE if broken else ratio
                levels[y, x] = "broken" if broken else "drifting" if ratio > 1 else "as ever"
        if one.columns:
            cells[len(names), x] = one.joint
            levels[len(names), x] = "drifting" if one.joint > 1 else "as ever"
    return cells, levels


def _cut(text: str) -> str:
    name = escaping.printable(text)
    return name if len(name) <= 28 else f"{name[:27]}…"


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure in inches, drawn without a display and without matplotlib's global state."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The user's own matplotlibrc must not change what a registered picture looks like.
    # And what stands between two dollars is no formula, which may be one that is wrong.
    with matplotlib.rc_context(
        {"font.family": "DejaVu Sans", "font.size": 9.5, "text.parse_math": False}
    ):
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas: Any = figure.canvas  # its `print_png` has no types
    # `savefig` draws twice: to lay out, and to write. This does both in one, with the same pixels.
    canvas.print_png(path, pil_kwargs={"compress_level": COMPRESSION})


def _side(values: Matrix) -> float:
    return min(9.0, max(4.6, 2.6 + 0.42 * len(values.experiences)))


def _draw(axes: Axes, values: Matrix, limits: tuple[float, float] | None) -> AxesImage:
    import numpy as np

    count = len(values.experiences)
    rows = [[math.nan if cell is None else cell for cell in row] for row in values.values]
    cells = np.array(rows, dtype=np.float64).reshape(count, count)
    # Of a metric where less is better the map is turned round: bright is always good.
    dark_is_low = values.metric not in LOWER_IS_BETTER
    image = axes.imshow(
        np.ma.masked_invalid(cells), cmap="cividis" if dark_is_low else "cividis_r", aspect="equal"
    )
    if limits is not None:
        image.set_clim(*limits)
    axes.set_xlabel("measured on experience")
    _name_ticks(axes, values.experiences)
    if count <= WRITTEN_OUT:
        low, high = image.get_clim()
        shades = (cells - low) / ((high - low) or 1.0)
        _write_values(axes, cells, shades if dark_is_low else 1.0 - shades)
    return image


def _colour_bar(figure: Figure, image: AxesImage, axes: Axes | list[Axes], metric: str) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(metric.replace("_", " "))
    bar.outline.set_visible(False)


def _name_ticks(axes: Axes, names: tuple[str, ...]) -> None:
    """Name at most some twenty experiences, evenly, and always the last."""
    count = len(names)
    step = max(1, -(-count // WRITTEN_OUT))
    places = sorted({*range(count - 1, -1, -step)})
    # `000013-1a2b3c4d`: the number says which; the digest is for machines.
    labels = [_short(names[place]) for place in places]
    turned = max(map(len, labels), default=0) > 3
    axes.set_xticks(places, labels, rotation=90 if turned else 0)
    axes.set_yticks(places, labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _short(name: str) -> str:
    number, _, _ = name.partition("-")
    return number.lstrip("0") or "0" if number.isdecimal() else name


def _write_values(axes: Axes, cells: NDArray[np.float64], shades: NDArray[np.float64]) -> None:
    """Write each value into its cell; `shades` are 0 where the cell is dark, 1 where bright."""
    import numpy as np

    finite = np.isfinite(cells)
    digits = 2 if np.abs(cells[finite]).max(initial=0.0) < 100 else 0
    for row, column in zip(*np.nonzero(finite), strict=True):
        axes.text(
            float(column),
            float(row),
            f"{cells[row, column]:.{digits}f}",
            ha="center",
            va="center",
            fontsize=9 if len(cells) <= 12 else 7.5,
            color="white" if shades[row, column] < 0.5 else "black",
            in_layout=False,  # it lies in its cell: the layout need not measure each
        )
