"""Conditions of slices: the small language, and what it does not let in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from perdure import expressions

FRAME = pd.DataFrame(
    {
        "age": [20.0, 65.0, np.nan, 80.0],
        "town": ["Oslo", "Bergen", None, "it's"],
        "last order (days)": [1.0, 2.0, 3.0, 4.0],
        "member": pd.Series([True, False, None, True], dtype=object),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age >= 65", [0, 1, 0, 1]),
        ("not age >= 65", [1, 0, 1, 0]),
        ("30 < age < 70", [0, 1, 0, 0]),
        ("age != 65", [1, 0, 0, 1]),
        ("town == 'Oslo' or age > 70", [1, 0, 0, 1]),
        ('town in ["Oslo", "it\'s"]', [1, 0, 0, 1]),
        ("town not in ['Oslo']", [0, 1, 0, 1]),
        ("age in (20, 80)", [1, 0, 0, 1]),
        ("`last order (days)` * 2 + 1 >= 7", [0, 0, 1, 1]),
        ("age / `last order (days)` > 20", [0, 1, 0, 0]),
        ("town == '`age`'", [0, 0, 0, 0]),
        ("town == 3", [0, 0, 0, 0]),
        ("-age < -50 and (town == 'Bergen' or not town == 'Bergen')", [0, 1, 0, 1]),
        ("member", [1, 0, 0, 1]),
        ("not member", [0, 1, 1, 0]),
        ("member == True", [1, 0, 0, 1]),
    ],
)
def test_rows_of_a_condition(text: str, expected: list[int]) -> None:
    assert expressions.parse(text).rows(FRAME).tolist() == [bool(one) for one in expected]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("__import__('os').system('true')", "no condition"),
        ("age.__class__ == 1", "not allowed"),
        ("age > len(town)", "not allowed"),
        ("age > [1][0]", "not allowed"),
        ("(lambda: 1) == age", "not allowed"),
        ("[x for x in town] == age", "not allowed"),
        ("age ** 9 > 1", "not allowed"),
        ("age > 10**10", "not allowed"),
        ("f'{age}' == 'a'", "not allowed"),
        ("town in town", "no list"),
        ("town in [age]", "constants"),
        ("town is None", "write =="),
        ("(age := 3) > 2", "not allowed"),
        ("age", None),
        ("age + 1", "no condition"),
        ("age >", "no condition"),
        ("1 < 2", "names no column"),
        ("age == None", "not allowed"),
        ("age in [1] == 2", "write `and`"),
        ("(" * 500 + "age" + ")" * 500 + " > 1", "characters"),
        ("(" * 400 + "age" + ")" * 400 + " > 1", "no condition"),
    ],
)
def test_what_is_not_let_in(text: str, word: str | None) -> None:
    if word is None:
        with pytest.raises(ValueError, match="neither true nor false"):
            expressions.parse(text).rows(FRAME)
        return
    with pytest.raises(ValueError, match=word):
        expressions.parse(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("height > 2", "no column 'height'; there are: age, town"),
        ("town > 2", "cannot be compared"),
        ("town + 1 > 2", "no number"),
    ],
)
def test_a_table_that_does_not_suit(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        expressions.parse(text).rows(FRAME)
