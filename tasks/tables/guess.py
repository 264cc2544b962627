"""In which format the numbers, or the times, of a column are written, as far as it is certain."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.reading import arrow_text, formats, values
from perdure.reading.formats import NumberFormat, TimeFormat

if TYPE_CHECKING:
    import pandas as pd

MOSTLY = 0.95
"""A column is what this share of its values is; the others will be refused, row by row."""
LARGEST_MARKED = 0.5
"""Share of the values that one repeated text may have, to stand for a missing number."""
MOST_MARKS = 20
"""Different texts that stand for a missing number, where a person says that it is a number."""

_CURRENCY = "€$£¥₹₩₽₺₪฿"
_CODES = ("EUR", "USD", "GBP", "CHF", "JPY", "CNY", "INR", "SEK", "NOK", "DKK", "PLN", "BRL")
_SIGNS = ("%", "‰", "°", "°C", "°F", "º", "ºC")
# fmt: off
_UNITS = frozenset((
    "kg", "g", "mg", "t", "lb", "lbs", "oz", "m", "cm", "mm", "km", "mi", "ft", "in", "s", "ms",
    "min", "h", "d", "kW", "W", "MW", "GW", "kWh", "MWh", "V", "mV", "A", "mA", "Hz", "kHz", "MHz",
    "GHz", "Pa", "hPa", "kPa", "mb", "bar", "psi", "l", "L", "ml", "mL", "m2", "m²", "m3", "m³",
    "mph", "km/h", "m/s", "kn", "rpm", "ppm", "px", "kB", "MB", "GB", "TB", "K", "kcal", "cal",
    "J", "kJ",
))
# fmt: on
_DIGITS = r"[+-]?\d(?:[\d.,' ]*[\d.,])?(?:[eE][+-]?\d+)?"
_NUMBER_AND_TEXT = re.compile(
    rf"^(?P<before>[^\d\s+.,-]\D{{0,3}}?)?\s*(?P<digits>{_DIGITS}|[.,]\d+)"
    r"(?P<space>\s*)(?P<after>[^\d\s.,'][^\d]{0,19})?$"
)
_LEADING_ZERO = re.compile(r"^[+-]?0\d+$")
_DAY_FIRST = ("%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y")
_MONTH_FIRST = ("%m/%d/%Y", "%m-%d-%Y", "%m.%d.%Y")
_YEAR_FIRST = ("%Y/%m/%d", "%Y.%m.%d")
_OTHER_DATES = ("%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M", "T%H:%M:%S")


@dataclass(frozen=True)
class Guess:
    """A format of numbers."""

    format: NumberFormat
    certain: bool
    why: str = ""
    """Why it is not certain."""


def numbers(column: pd.Series[Any], asked: bool = False) -> Guess | None:
    """The format of a column's numbers.

    Args:
        column: As it stands in the file.
        asked: A person says that it holds numbers: what is not certain is guessed, and other text
            stands for a missing number.

    Returns:
        None: it holds no numbers. Not certain: it may hold some.
    """
    if column.dtype.kind in "iuf":
        return Guess(NumberFormat(), True)
    texts = values.arrow_of(column)
    if texts is not None and arrow_text.are_decimal(texts):
        return Guess(NumberFormat(), True)
    counts = values.bare_counts(column)
    for text in [one for one in counts if one.lower() in values.MISSING_NUMBERS]:
        del counts[text]
    if not counts:
        return None
    if any(_LEADING_ZERO.match(text) for text in counts) and not asked:
        return None  # of a zip code or a number of an article: words
    split = _split(counts)
    if split is None:
        return None
    unit, certain, bodies = split
    form, sure, why = _marks(bodies, asked)
    form = replace(form, unit=unit)
    if not certain:
        why = f"text such as {next(iter(counts))!r}"
    return _with_missing(counts, form, certain and sure, why, asked)


def _split(counts: Counter[str]) -> tuple[str, bool, Counter[str]] | None:
    """The unit of most values, whether it is one for certain, and the digits of the values."""
    found = [(text, n, m) for text, n in counts.items() if (m := _NUMBER_AND_TEXT.match(text))]
    total, fitting = counts.total(), sum(n for _, n, _ in found)
    if not found or fitting < (1 - LARGEST_MARKED) * total:
        return None
    units: Counter[str] = Counter()
    for _, n, match in found:
        before, after = (match["before"] or "").strip(), (match["after"] or "").strip()
        if before and after:
            continue
        units[before or after] += n
    if not units:
        return None
    unit, times = units.most_common(1)[0]
    if unit == "" and len(units) > 1 and units.most_common(2)[1][1] > (1 - MOSTLY) * fitting:
        unit, times = units.most_common(2)[1]
        times += units[""]  # a zero, or a value or two, without its unit
    if times < MOSTLY * fitting:
        return None
    bodies: Counter[str] = Counter()
    spaced = decimals = 0
    before_it = False
    for _, n, match in found:
        before, after = (match["before"] or "").strip(), (match["after"] or "").strip()
        if (before or after) in ("", unit):
            bodies[match["digits"].strip()] += n
            spaced += n * bool(match["space"] and after)
            decimals += n * bool(re.search(r"[.,]\d", match["digits"]))
            before_it |= bool(before)
    if not unit:
        return "", True, bodies
    money = unit in _CODES or any(sign in _CURRENCY for sign in unit)
    # One letter may be part of a word, such as `12A`.
    known = unit in _SIGNS or (unit in _UNITS and (len(unit) > 1 or bool(decimals)))
    certain = money or (not before_it and (known or spaced >= MOSTLY * times))
    # `12A`, `B7` and the like are words, not amounts.
    if not certain and not decimals:
        return None
    return unit, certain, bodies


def _marks(bodies: Counter[str], asked: bool) -> tuple[NumberFormat, bool, str]:
    """The decimal mark and the grouping of digits."""
    texts = list(bodies)
    points = [t for t in texts if "." in t]
    commas = [t for t in texts if "," in t]
    other = next((g for g in ("'", " ") if any(g in t for t in texts)), "")
    if points and commas:
        both = [t for t in texts if "." in t and "," in t]
        last = Counter("," if t.rfind(",") > t.rfind(".") else "." for t in both)
        if both:
            decimal = last.most_common(1)[0][0]
        elif any(t.count(",") > 1 for t in commas):
            decimal = "."
        elif any(t.count(".") > 1 for t in points):
            decimal = ","
        else:
            return NumberFormat(), False, "numbers with points and numbers with commas"
        return NumberFormat(decimal, "," if decimal == "." else "."), True, ""
    if commas:
        return _one_mark(bodies, ",", other, asked)
    if any(t.count(".") > 1 for t in points):
        return NumberFormat(",", "."), True, ""
    return NumberFormat(".", other), True, ""


def _one_mark(
    bodies: Counter[str], mark: str, other: str, asked: bool
) -> tuple[NumberFormat, bool, str]:
    """Commas only: decimal marks, or between thousands."""
    if other:
        return NumberFormat(",", other), True, ""
    marked = [t.lstrip("+-") for t in bodies if mark in t]
    if any(t.count(mark) > 1 for t in marked):
        return NumberFormat(".", mark), True, ""
    in_threes = all(re.fullmatch(r"[1-9]\d{0,2},\d{3}", t) for t in marked)
    if not in_threes:
        return NumberFormat(mark), True, ""
    plain = [t.lstrip("+-") for t in bodies if mark not in t and t.lstrip("+-").isdigit()]
    if any(len(t) > 3 for t in plain):
        return NumberFormat(mark), True, ""
    rows = sum(bodies[t] for t in bodies if mark not in t)
    if rows >= 0.05 * bodies.total():
        return NumberFormat(".", mark), True, ""
    example = marked[0]
    why = f"{example!r} may be {example.replace(mark, '')} or {example.replace(mark, '.')}"
    return NumberFormat(".", mark), False, why


def _with_missing(
    counts: Counter[str], form: NumberFormat, certain: bool, why: str, asked: bool
) -> Guess | None:
    """The format with what stands for a missing number."""
    fits = re.compile(form.pattern)
    infinite = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
    others = Counter(
        {t: n for t, n in counts.items() if not fits.match(t) and not infinite.fullmatch(t)}
    )
    total, wrong = counts.total(), others.total()
    marks = sorted(others)
    one = len(others) == 1 and wrong > 1 and wrong <= LARGEST_MARKED * total
    if one or (asked and 0 < len(others) <= MOST_MARKS and wrong < total):
        return Guess(replace(form, missing=tuple(marks)), certain, why)
    if wrong <= (1 - MOSTLY) * total:
        return Guess(form, certain, why)
    if wrong <= LARGEST_MARKED * total and len(others) <= MOST_MARKS:
        example = others.most_common(1)[0][0]
        share = f"{wrong / total:.0%}"
        return Guess(form, False, f"numbers, and other text such as {example!r} in {share} of rows")
    return None


def times(column: pd.Series[Any], asked: bool = False) -> TimeFormat | str | None:
    """The format of a column's dates and times.

    Returns:
        None: it holds none. Text: it may hold some, but it is not certain in which format, and why.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return TimeFormat(formats.ISO, str(column.dtype.tz))
    if column.dtype.kind == "M":
        return TimeFormat()
    if column.dtype.kind in "iufbm":
        return None
    texts = values.bare_text(column)
    present = texts[~values.stands_for_missing(texts)]
    if not len(present):
        return None
    if values.matches(present, values.ISO_TIME).mean() >= MOSTLY:
        _, wrong = values.as_times(pd.Series(present, dtype=object), TimeFormat())
        return TimeFormat() if wrong.mean() <= 1 - MOSTLY else None
    sample = pd.Series(present[:200], dtype=object)
    if not sample.astype(str).str.contains(r"\d").all():
        return None
    fitting = [f for f in _candidates(str(sample.iloc[0])) if _reads(sample, f)]
    fitting = [f for f in fitting if _reads(pd.Series(present, dtype=object), f)]
    if not fitting:
        return None
    days = {f[:2] for f in fitting if f[:2] in ("%d", "%m")}
    if len(days) > 1 and not asked:
        return f"dates such as {sample.iloc[0]!r}, of which day or month may come first"
    return TimeFormat(fitting[0])


def _candidates(example: str) -> Iterator[str]:
    for date in (*_DAY_FIRST, *_MONTH_FIRST, *_YEAR_FIRST, *_OTHER_DATES):
        for clock in _CLOCKS:
            if (":" in clock) == (":" in example):
                yield date + clock


def _reads(column: pd.Series[Any], form: str) -> bool:
    _, wrong = values.as_times(column, TimeFormat(form))
    return bool(wrong.mean() <= 1 - MOSTLY)


def seen(seconds: values.Numbers) -> tuple[str, ...]:
    """What a model sees of times, as `as_times` gives them: the hour only where there is one."""
    finite = seconds[np.isfinite(seconds)]
    clock = bool((finite % formats.CYCLES["day"] != 0).any())
    return formats.SEEN if clock else formats.SEEN[:-1]
