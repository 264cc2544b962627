"""Codes of words are the same for few rows, one by one, and for many, at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.strategies.features import encoding
from perdure.strategies.features.columns import Column, FeatureSpec

WORDS = st.sampled_from(
    ["red", "green", "", " ", "Rouge\u0301", None, float("nan"), pd.NA, "x" * 40]
)


@pytest.mark.parametrize("buckets", [0, 7])
@given(words=st.lists(WORDS | st.text(max_size=3), min_size=1, max_size=40))
def test_words(words: list[Any], buckets: int) -> None:
    known = () if buckets else ("green", "red", "")
    column = Column("colour", "category", known, buckets=buckets)
    spec = FeatureSpec((column,), "y", "regression")
    values = np.empty(len(words), dtype=object)
    values[:] = words
    few = encoding.encode(spec, {"colour": values})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "MANY", 0)
        many = encoding.encode(spec, {"colour": values})
    assert few.tolist() == many.tolist()
