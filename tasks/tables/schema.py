"""The schema of a workspace's tables: infer it, write it, read it."""

from perdure.tasks.tables.columns import (
    CategoryColumn,
    Column,
    IgnoredColumn,
    ImageColumn,
    NumberColumn,
    SequenceColumn,
    TextColumn,
)
from perdure.tasks.tables.differences import accepted, differences
from perdure.tasks.tables.infer import infer, infer_pictures
from perdure.tasks.tables.lift import Inferred, inferred, lifted
from perdure.tasks.tables.model import ClassTarget, Schema, ValueTarget
from perdure.tasks.tables.parse import load, parse
from perdure.tasks.tables.render import render

__all__ = [
    "CategoryColumn",
    "ClassTarget",
    "Column",
    "IgnoredColumn",
    "ImageColumn",
    "Inferred",
    "NumberColumn",
    "Schema",
    "SequenceColumn",
    "TextColumn",
    "ValueTarget",
    "accepted",
    "differences",
    "infer",
    "infer_pictures",
    "inferred",
    "lifted",
    "load",
    "parse",
    "render",
]
