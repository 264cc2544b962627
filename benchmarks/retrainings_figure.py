"""Draw docs/retrainings.png: what each retraining cost, from the results that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perdure.tasks.figures import BLUE, DPI, GREY

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "retrainings.png"


def draw(figures: Mapping[str, float], early: int, path: Path = PICTURE) -> Path:
    """Draw the cost of retraining number k over k.

    Args:
        figures: Seconds of the processor by the number, each the median of those around it.
        early: The number whose cost the dashed line stands for.
        path: A `.png` file to write.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    numbers = sorted(map(int, figures))
    seconds = [figures[str(number)] for number in numbers]
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.plot(numbers, seconds, color=BLUE, marker="o", markersize=3, linewidth=1.4)
        level = figures[str(early)]
        axes.axhline(level, color=GREY, linewidth=1, linestyle="--")
        axes.annotate(f"number {early}", (numbers[-1], level), xytext=(0, -4),
                      textcoords="offset points", ha="right", va="top", color=GREY)  # fmt: skip
        axes.set_ylim(0, 1.25 * max(seconds))
        axes.set_xlim(0, numbers[-1] + 1)
        axes.set_xlabel("number of the retraining, each of one experience of the same size")
        axes.set_ylabel("processor time, s")
        axes.set_title("What retraining number k costs", loc="left", fontweight="bold", pad=12)
        axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        # Without a version of the library in it, the same figures give the same bytes.
        figure.savefig(path, dpi=DPI, facecolor="white", format="png", bbox_inches="tight",
                       metadata={"Software": None})  # fmt: skip
    return path
