"""The schema of a workspace's tables: infer it, write it, read it."""

from perdure.tasks.tables.columns import (
    CategoryColumn,
    IgnoredColumn,
    ImageColumn,
    NumberColumn,
    SequenceColumn,
    TextColumn,
)
from perdure.tasks.tables.infer import infer, infer_pictures
from perdure.tasks.tables.model import ClassTarget, Schema, ValueTarget
from perdure.tasks.tables.parse import load, parse
from perdure.tasks.tables.render import render

__all__ = [
    "CategoryColumn",
    "ClassTarget",
    "IgnoredColumn",
    "ImageColumn",
    "NumberColumn",
    "Schema",
    "SequenceColumn",
    "TextColumn",
    "ValueTarget",
    "infer",
    "infer_pictures",
    "load",
    "parse",
    "render",
]
