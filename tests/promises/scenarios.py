"""The commands that promise 3 kills, each with the workspace that it works on."""

from __future__ import annotations

import tempfile
from pathlib import Path

from perdure.config import Workspace
from perdure.flows import accepting, status
from perdure.flows.inbox import Arrived
from perdure.flows.ingest import ingest
from perdure.flows.promote import promote
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.records import Experience, Ingested
from perdure.tasks.registry.changes import Changes
from perdure.tasks.registry.versions import Versions
from perdure.tasks.tables.schema import Schema
from tests.promises import kit
from tests.promises.killing import Scenario

BAD = kit.table(5).replace("a,b,", "a,c,")
"""A column that the schema does not know."""


def warm(root: Path) -> None:
    """Do everything once, so that each child finds every module imported."""
    kit.make(root)
    kit.ingest(root, kit.table(2), BAD)
    retrain.fn(str(root))
    rollback.fn(str(root))
    promote.fn(str(root), version=2)
    status.status(str(root))
    kit.picture(root)


def _files_arrived(root: Path) -> None:
    kit.make(root)
    kit.arrive(root, "one.csv", kit.table(2))
    kit.arrive(root, "three.csv", kit.partly(3))
    kit.arrive(root, "two.csv", BAD)
    # A class that reaches its number in the second of these files, and again in one that is
    # the first once more.
    kit.arrive(root, "we-1.csv", kit.few(6))
    kit.arrive(root, "we-2.csv", kit.few(7))
    kit.arrive(root, "we-3.csv", kit.few(6))


def _small_files_arrived(root: Path) -> None:
    """The first waits since an earlier call, and the third makes an experience with the two before.

    The first comes again, a large one takes what waits, and the last waits.
    """
    kit.make(root)
    kit.arrive(root, "1.csv", kit.table(2, 12))
    ingest.fn(str(root))
    kit.arrive(root, "2.csv", "\n".join(kit.few(3, 1).splitlines()[:13]) + "\n")
    kit.arrive(root, "3.csv", kit.table(4, 12))
    kit.arrive(root, "4.csv", kit.table(2, 12))
    kit.arrive(root, "5.csv", kit.table(5, 10))
    kit.arrive(root, "6.csv", kit.table(6))
    kit.arrive(root, "7.csv", kit.table(7, 8))


def _many_small_files_arrived(root: Path) -> None:
    """Files of one ingest are joined to 90 rows; a large one is alone, and the rest is enough."""
    kit.make(root)
    path = root / "perdure.toml"
    path.write_text(path.read_text().replace("[training]", "join = 90\n\n[training]", 1))
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: join")
    kit.arrive(root, "1.csv", kit.table(2, 12))
    ingest.fn(str(root))
    kit.arrive(root, "2.csv", kit.table(3, 40))
    kit.arrive(root, "3.csv", kit.partly(4))
    kit.arrive(root, "4.csv", kit.table(5, 40))
    kit.arrive(root, "5.csv", kit.table(6, 120))
    kit.arrive(root, "6.csv", kit.table(7, 40))
    kit.arrive(root, "7.csv", kit.table(8, 8))


def _pending(root: Path) -> None:
    """One version is champion; one experience will pass, and the last will be refused."""
    kit.make(root)
    retrain.fn(str(root))
    kit.configure(root, past="0.2")
    kit.ingest(root, kit.table(2), kit.turned(3, 240))


def _to_be_moved(root: Path) -> None:
    """The champion has learned labels turned round, and serves because a person wanted it.

    The first experience that waits shows that, and takes it back. On the second one it is what
    is shown to be better: the contender that it has become takes the place again.

    The labels turned round cost half of the accuracy or more, and no other step a quarter, so that
    no decision depends on a row or two.
    """
    kit.make(root, text=kit.steady(1), past="0.25")
    kit.ingest(root, kit.steady(2), kit.steady(3, turned=True))
    retrain.fn(str(root))
    promote.fn(str(root), version=3, force=True, reason="I know better")
    kit.ingest(root, kit.steady(4), kit.steady(5, turned=True))


def _three_versions(root: Path) -> None:
    kit.make(root)
    kit.ingest(root, kit.table(2), kit.table(3))
    retrain.fn(str(root))


def _waiting(root: Path) -> None:
    """The second version passed, and waits for a person."""
    kit.make(root, mode="manual")
    kit.ingest(root, kit.table(2))
    retrain.fn(str(root))
    promote.fn(str(root), version=1)


def _nobody_recovers(_root: Path) -> None:
    # Replaced for good, in a forked child: the mechanism switched off.
    Changes.recover = lambda _self: None  # type: ignore[method-assign,assignment]


def _takes_the_file_first(_root: Path) -> None:
    """An ingest that lets go of a file before its content is safe."""
    accept = accepting.accept

    def careless(
        ws: Workspace,
        arrived: Arrived,
        rules: Schema,
        known: list[Experience],
        results: list[Ingested],
    ) -> bool:
        aside = Path(tempfile.mkdtemp(dir=ws.root.parent)) / arrived.path.name
        arrived.path.rename(aside)
        return accept(ws, Arrived(aside, arrived.seen), rules, known, results)

    accepting.accept = careless


def _nobody_finds(_root: Path) -> None:
    Versions.find = lambda _self, _key: None  # type: ignore[method-assign,assignment]


def _registered_but_not_promoted(names: list[str]) -> list[int]:
    written = next(
        i for i, name in enumerate(names) if name.startswith("INSERT INTO model_versions")
    )
    return [names.index("commit", written) + 2]


def _evidence_written_and_nothing_moved(names: list[str]) -> list[int]:
    """Right before the first alias is written when one is taken back, and when one proves right.

    Between the two the experience is learned, and the champion moves as ever.
    """
    written = [i for i, name in enumerate(names, 1) if "registered_model_aliases" in name]
    begun = [at for at, before in zip(written, [0, *written], strict=False) if at - before > 20]
    assert len(begun) == 5
    return [begun[0], begun[2]]


def _joined_files_are_removed(names: list[str]) -> list[int]:
    """Right before each file that waited is removed, as its rows are in an experience."""
    found = [i for i, name in enumerate(names, 1) if name.startswith("os.remove /data/waiting")]
    assert len(found) in (3, 5)
    return found


def _dvc_tries_to_link(names: list[str]) -> list[int]:
    """DVC makes the file, empty, under its final name, and removes it where reflinks fail."""
    stores = ("/.dvc/cache/files/md5", "/.perdure/dvc-remote/files/md5")
    found = []
    for store in stores:
        tried = [
            i
            for i, name in enumerate(names, 1)
            if name.startswith(f"os.remove {store}") and not name.endswith(".tmp")
        ]
        found += [*tried[:1], *tried[1:][-1:]]  # of a file, and of the listing
    return found


ALL = (
    Scenario(
        "ingest",
        _files_arrived,
        lambda root: ignore(ingest.fn(str(root))),
        _takes_the_file_first,
        cases=10,
        moments=_dvc_tries_to_link,
    ),
    Scenario(
        "small",
        _small_files_arrived,
        lambda root: ignore(ingest.fn(str(root))),
        _takes_the_file_first,
        cases=9,
        moments=_joined_files_are_removed,
    ),
    Scenario(
        "join",
        _many_small_files_arrived,
        lambda root: ignore(ingest.fn(str(root))),
        _takes_the_file_first,
        cases=9,
        moments=_joined_files_are_removed,
    ),
    Scenario(
        "retrain",
        _pending,
        lambda root: ignore(retrain.fn(str(root))),
        _nobody_finds,
        cases=6,
        moments=_registered_but_not_promoted,
    ),
    Scenario(
        "tournament",
        _to_be_moved,
        lambda root: ignore(retrain.fn(str(root))),
        _nobody_recovers,
        cases=3,
        moments=_evidence_written_and_nothing_moved,
        twice=0,
    ),
    Scenario(
        "promote",
        _waiting,
        lambda root: ignore(promote.fn(str(root), version=2, reason="looks good")),
        _nobody_recovers,
        cases=10,
    ),
    Scenario(
        "rollback",
        _three_versions,
        lambda root: ignore(rollback.fn(str(root), to=1, reason="complaints")),
        _nobody_recovers,
        cases=10,
    ),
)


def ignore(_result: object) -> None:
    """A command's result is not looked at: only what stands afterwards."""
