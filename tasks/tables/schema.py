"""The schema of a workspace's tables: infer it, write it, read it."""

from perdure.tasks.tables.columns import (
    CategoryColumn,
    Column,
    IgnoredColumn,
    ImageColumn,
    NumberColumn,
    SequenceColumn,
    TextColumn,
    TimeColumn,
)
from perdure.tasks.tables.definition import ClassTarget, Schema, ValueTarget
from perdure.tasks.tables.differences import accepted, differences
from perdure.tasks.tables.infer import ColumnKind, Examined, examine, infer, infer_pictures
from perdure.tasks.tables.lift import Inferred, inferred, lifted
from perdure.tasks.tables.parse import load, parse
from perdure.tasks.tables.render import render
from perdure.tasks.tables.rules import rules_of_features

__all__ = [
    "CategoryColumn",
    "ClassTarget",
    "Column",
    "ColumnKind",
    "Examined",
    "IgnoredColumn",
    "ImageColumn",
    "Inferred",
    "NumberColumn",
    "Schema",
    "SequenceColumn",
    "TextColumn",
    "TimeColumn",
    "ValueTarget",
    "accepted",
    "differences",
    "examine",
    "infer",
    "infer_pictures",
    "inferred",
    "lifted",
    "load",
    "parse",
    "render",
    "rules_of_features",
]
