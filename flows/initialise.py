"""Make a workspace: a folder with git, DVC, a configuration and a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from perdure.config import CONFIG_NAME, Task, parse, place
from perdure.errors import UsageError
from perdure.flows import ingest, templates
from perdure.records import ColumnFound, Initialised
from perdure.tasks import data_versions, git
from perdure.tasks.tables import pictures, read, schema

Kind = Literal["table", "image", "text", "sequence"]
ColumnKind = schema.ColumnKind
_IGNORED = ("/.perdure/", "/data", "/inbox/*", "!/inbox/.gitkeep")


def initialise(
    directory: Path,
    data: Path,
    target: str | None = None,
    task: Task | None = None,
    name: str | None = None,
    kind: Kind | None = None,
    column: str | None = None,
    size: str | None = None,
    kinds: Mapping[str, ColumnKind] | None = None,
) -> Initialised:
    """Make a workspace, and ingest its first experience.

    The data is read and the configuration checked before anything is written. The
    configuration file is written last: killed in between, the same command goes on.

    Args:
        directory: The folder; it may exist, and may lie inside a git repository.
        data: A table, see `read.read_table`; or images: a folder of class folders, a ZIP archive
            of such, or NPZ arrays.
        target: The column to predict; of images by default `label`.
        task: By default inferred from the target.
        name: Name of the registered model; by default the folder's.
        kind: What is learned from; by default inferred from the data.
        column: The column of text or of sequences, where there are several.
        size: `HEIGHTxWIDTH` of images; by default the most common one, at most 224.
        kinds: What a person says that a column is, by its name.

    Raises:
        UsageError: There is a workspace already, the target is no column of the data, the kind
            is not that of the data, or the folder is no place for a workspace.
        DataRefused: The data cannot be read.
    """
    root = place(directory)
    if (root / CONFIG_NAME).exists():
        raise UsageError(
            f"{root} is a workspace already; nothing was changed",
            hint=f"perdure ingest {data} --workspace {directory}",
        )
    if root.exists() and not root.is_dir():
        raise UsageError(f"{directory} is not a folder")
    if not data.exists():
        raise UsageError(f"{data} does not exist", hint="--data FILE: a table, or images")
    found = _infer(data, target, task, kind, column, size, kinds or {})
    inferred = found.schema
    model = name or re.sub(r"[/:.%\"'\s]+", "-", root.name).strip("-") or "model"
    text = templates.configuration(model, inferred)
    parse(text, str(root / CONFIG_NAME))

    (root / "inbox").mkdir(parents=True, exist_ok=True)
    (root / "inbox" / ".gitkeep").touch()
    git.ensure_repository(root)
    data_versions.init(root)
    _ignore(root)
    (root / "schema.toml").write_text(schema.render(inferred), encoding="utf-8")
    (root / CONFIG_NAME).write_text(text, encoding="utf-8")
    git.commit(
        root,
        [
            root / n
            for n in (
                CONFIG_NAME,
                "schema.toml",
                ".gitignore",
                "inbox/.gitkeep",
                ".dvc",
                ".dvcignore",
            )
        ],
        f"perdure init: model {model}",
    )
    first = ingest.ingest.fn(str(root), [str(data.absolute())]).files[0]
    return Initialised(str(root), model, inferred.task, first, found.columns, found.notes)


def _infer(
    data: Path,
    target: str | None,
    task: Task | None,
    kind: Kind | None,
    column: str | None,
    size: str | None,
    kinds: Mapping[str, ColumnKind],
) -> schema.Examined:
    images = pictures.holds_images(data) if kind is None else kind == "image"
    if images:
        if column is not None:
            raise UsageError("--column is for text and sequences; images are files or one array")
        wanted = None if size is None else pictures.parse_size(size)
        made = schema.infer_pictures(data, target or pictures.TARGET, task, wanted)
        learned = tuple(ColumnFound(name, "image", True) for name in made.features)
        return schema.Examined(made, learned)
    if size is not None:
        raise UsageError("--size is for images; this is a table", hint="--kind image")
    if column is not None and kind not in ("text", "sequence"):
        raise UsageError("--column needs --kind text or --kind sequence")
    if target is None:
        raise UsageError("--target COLUMN is missing: the column to predict")
    return schema.examine(read.read_table(data), target, task, kind, column, kinds)


def _ignore(root: Path) -> None:
    """Add what is not for git to `.gitignore`, leaving the user's own lines."""
    path = root / ".gitignore"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    missing = [line for line in _IGNORED if line not in lines]
    if missing:
        path.write_text("\n".join([*lines, *missing]) + "\n", encoding="utf-8")
