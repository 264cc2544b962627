"""Draw docs/tournament.png: the wealth of versions that are measured beside the champion.

    python docs/pictures.py

Simulated with `tasks/evidence.py` and the default settings: 500 rows in each experience, two models
that disagree on 15 % of them. The same picture every time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perdure.config import GatesConfig, TournamentConfig
from perdure.records import Evidence
from perdure.tasks import evidence
from perdure.tasks.figures import BLUE, DPI, GREY, ORANGE

PICTURE = Path(__file__).resolve().with_name("tournament.png")
ROWS, EXPERIENCES, DISAGREE = 500, 12, 0.15
SEED = 10
GREEN = "#009E73"
ALPHA = 1.0 - GatesConfig().confidence


@dataclass(frozen=True)
class Line:
    """One version beside the champion."""

    label: str
    better: float
    """By how much its true error is lower than that of the champion."""
    contends: bool
    colour: str
    style: str
    mark: str


LINES = (
    Line("predecessor, better by 0.05 (the champion learned a spoiled file)", 0.05, False, ORANGE,
         "-", "o"),
    Line("contender, better by 0.03", 0.03, True, BLUE, "-", "s"),
    Line("contender, equally good", 0.0, True, GREEN, "--", "^"),
    Line("predecessor, equally good", 0.0, False, GREY, "--", "v"),
)  # fmt: skip


def wealth(line: Line, seed: int) -> tuple[list[float], str]:
    """The e-value after each experience, from 1 on, and how it ends; empty: it goes on."""
    settings = TournamentConfig()
    rng, now, found = np.random.default_rng(seed), Evidence(), [1.0]
    margin = 0.0 if line.contends else settings.rollback_margin
    up = (DISAGREE + line.better) / 2
    for _ in range(EXPERIENCES):
        draws = rng.random(ROWS)
        gains = np.where(draws < up, 1.0, np.where(draws < DISAGREE, -1.0, 0.0))
        now = evidence.collect(now, gains, margin)
        found.append(now.e_value)
        if evidence.shows(now, ALPHA):
            return found, "promoted" if line.contends else "rolled back to"
        if line.contends and now.experiences >= settings.contender_for:
            return found, "let go"
    return found, ""


def draw(path: Path = PICTURE) -> Path:
    """Draw the picture.

    Args:
        path: A `.png` file to write.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9.5}):
        figure = Figure(figsize=(7.6, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for place, line in enumerate(LINES):
            values, end = wealth(line, SEED + place)
            axes.plot(range(len(values)), values, color=line.colour, linestyle=line.style,
                      marker=line.mark, markersize=4.5, label=line.label)  # fmt: skip
            if end:
                axes.annotate(end, (len(values) - 1, values[-1]), xytext=(7, 0), va="center",
                              textcoords="offset points", color=line.colour)  # fmt: skip
        axes.axhline(1 / ALPHA, color="black", linewidth=1)
        axes.annotate(f"shown: e = {1 / ALPHA:.0f}", (EXPERIENCES, 1 / ALPHA), xytext=(0, 4),
                      textcoords="offset points", ha="right")  # fmt: skip
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlim(-0.2, EXPERIENCES + 0.2)
        axes.set_xticks(range(EXPERIENCES + 1))
        axes.set_xlabel(f"experiences that arrived, {ROWS} rows each")
        axes.set_ylabel("e-value: wealth of the bets")
        axes.set_title("Is the other version better than the champion?", loc="left",
                       fontweight="bold", pad=12)  # fmt: skip
        axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower left", fontsize=8.5)
        figure.savefig(path, dpi=DPI, facecolor="white", format="png", bbox_inches="tight")
    return path


if __name__ == "__main__":
    sys.stdout.write(f"written: {draw().name}\n")
