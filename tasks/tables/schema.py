"""The schema of a workspace's tables: infer it, write it, read it."""

from perdure.tasks.tables.infer import infer
from perdure.tasks.tables.model import (
    CategoryColumn,
    ClassTarget,
    IgnoredColumn,
    NumberColumn,
    Schema,
    ValueTarget,
)
from perdure.tasks.tables.parse import load, parse
from perdure.tasks.tables.render import render

__all__ = [
    "CategoryColumn",
    "ClassTarget",
    "IgnoredColumn",
    "NumberColumn",
    "Schema",
    "ValueTarget",
    "infer",
    "load",
    "parse",
    "render",
]
