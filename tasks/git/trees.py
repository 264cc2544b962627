"""The files of a revision, written elsewhere; index and working tree stay as they are."""

from __future__ import annotations

from pathlib import Path

from perdure.tasks.git.command import git


def export(root: Path, revision: str, folder: Path) -> Path:
    """Write what a folder of a repository held at a revision.

    Args:
        root: The folder; may lie below the top of its repository.
        revision: A commit that the repository has.
        folder: A new folder, beside which there is room for an index.

    Returns:
        Where in it the files are.

    Raises:
        Fault: git refuses, or has no such commit.
    """
    index = {"GIT_INDEX_FILE": str(folder.with_name(f"{folder.name}.index"))}
    git(root, "read-tree", revision, environment=index)
    # In a subfolder git writes out what is below that alone.
    git(root, "checkout-index", "--all", f"--prefix={folder}/", environment=index)
    below = git(root, "rev-parse", "--show-prefix").stdout.rstrip("\n")
    (folder / below).mkdir(parents=True, exist_ok=True)
    return folder / below
