"""`retrain --profile`: the first experience that is trained, to a folder and to MLflow."""

from __future__ import annotations

from pathlib import Path

from perdure.flows.retrain import retrain
from tests.promises import kit


def test_the_first_experience_trained_is_profiled(tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace")
    kit.ingest(root, kit.table(2))
    result = retrain.fn(str(root), True)
    assert len(result.learned) == 2
    assert result.profile is not None
    place = Path(result.profile)
    assert place == root / ".perdure" / "profiles" / result.learned[0].experience
    files = ["operators.txt", "trace.json"]
    assert sorted(path.name for path in place.iterdir()) == files
    registry = kit.registry(root)
    for number, expected in ((1, [f"profile/{name}" for name in files]), (2, [])):
        run = registry.version(number).run_id
        assert [one.path for one in registry.client.call("list_artifacts", run, "profile")] == (
            expected
        )
    nothing = retrain.fn(str(root), True)
    assert (nothing.learned, nothing.profile) == ((), None)
