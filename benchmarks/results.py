"""What was measured: rows of the tables, in a file that stays in git."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("results.json")
PACKAGES = ("torch", "avalanche-lib", "numpy")


@dataclass(frozen=True)
class Row:
    """One measured figure, what it should be, and what it stands beside."""

    part: str
    """The part of the benchmarks; one table each."""
    name: str
    value: float | None
    """None: it could not be measured; the note says why."""
    target: float | None = None
    most: bool = False
    """The target is the most that is wanted, not the least."""
    unit: str = ""
    repeats: tuple[float, ...] = ()
    """What the value is the median or the mean of."""
    beside: str = ""
    """Stock Avalanche, or what is published."""
    control: float | None = None
    """The same with the strategy's state dropped between processes."""
    naive: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    """Others, by name."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None: there is none, or no value."""
        if self.target is None or self.value is None:
            return None
        return self.value <= self.target if self.most else self.value >= self.target

    @property
    def short(self) -> str:
        """`met`, or by how much it is not."""
        if self.met is None:
            return ""
        assert self.value is not None
        assert self.target is not None
        return "met" if self.met else f"not met, by {abs(self.value - self.target):.3g}"

    @property
    def command(self) -> str:
        """What repeats this row alone."""
        return f'python -m benchmarks {self.part} --only "{self.name}"'

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, rounded to six digits."""
        empty: tuple[Any, ...] = (None, "", (), {}, False)
        return {k: _rounded(v) for k, v in asdict(self).items() if v not in empty or k == "value"}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Row:
        """Read what `to_json` wrote."""
        return cls(**{**value, "repeats": tuple(value.get("repeats", ()))})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, tuple) else value


def machine(device: str = "") -> str:
    """The machine and the versions, without a name or a date."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores"
    return (
        f"{system}{f', {device}' if device else ''}; Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def load(path: Path = PATH) -> dict[str, Any]:
    """Everything that was measured last; empty: nothing yet."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def key(part: str, device: str = "cpu") -> str:
    """Where the rows of a part are, by the kind of device."""
    return part if device == "cpu" else f"{part} {device}"


def rows(stored: Mapping[str, Any], part: str) -> list[Row]:
    """The rows of one part."""
    return [Row.from_json(row) for row in stored.get(part, {}).get("rows", ())]


def store(
    part: str, found: Iterable[Row], where: str, *, whole: bool = True, path: Path = PATH
) -> None:
    """Keep rows; if they are not the whole part, in the place of those of the same name."""
    stored, new = load(path), {row.name: row for row in found}
    kept = [] if whole else [new.pop(row.name, row) for row in rows(stored, part)]
    stored[part] = {"machine": where, "rows": [row.to_json() for row in [*kept, *new.values()]]}
    text = json.dumps(dict(sorted(stored.items())), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
