"""A version folder: everything that one version in the registry holds.

```
serving.json               the features (vocabulary included), what is asked of their values, and
                           Perdure's version
model.pt2                  the graph from raw columns to predictions, any number of rows
learner/                   the whole learner
evaluation/rows.parquet    the rows that it was measured on
evaluation/evaluation.json the numbers that the gates saw
manifest.json              sha256 of every file above
```
"""

from perdure.tasks.packaging.comparing import compare
from perdure.tasks.packaging.layout import EVALUATION, LEARNER, MODEL, ROWS, SERVING
from perdure.tasks.packaging.reading import (
    drift_history_in,
    labels_in,
    look,
    matrix_in,
    numbers_in,
    rows_in,
    spec_in,
)
from perdure.tasks.packaging.writing import assemble, package

__all__ = [
    "EVALUATION",
    "LEARNER",
    "MODEL",
    "ROWS",
    "SERVING",
    "assemble",
    "compare",
    "drift_history_in",
    "labels_in",
    "look",
    "matrix_in",
    "numbers_in",
    "package",
    "rows_in",
    "spec_in",
]
