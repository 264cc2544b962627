"""A `model.pt2` whose graph does more than compute, and the list of operators that refuses it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from torch import Tensor, nn

from perdure import manifest
from perdure.errors import Corrupt
from perdure.flows.retrain import retrain
from perdure.strategies import catalogue
from perdure.strategies.export import archive, graph, operators
from perdure.strategies.models import vision
from perdure.tasks.registry.client import tracking_uri
from tests.attacks.exports import EXPORTS, FAMILIES, program, saved
from tests.promises import kit
from tests.strategies.small import CASES, names_of

MINE = b"what another program wrote here."


class Filled(nn.Module):
    """Fills bytes of its own, and predicts a constant."""

    def forward(self, raw: Tensor) -> Tensor:
        own = torch.zeros(len(MINE), dtype=torch.uint8)
        own.fill_(65)
        return raw[:, :1] * 0.0 + torch.stack([own.sum(), own.sum() * 0])


def mapped(victim: Path) -> bytes:
    """Its archive, with the bytes mapped from a file, to be shared with it."""
    words: list[tuple[str, dict[str, Any], int]] = [
        ("filename", {"as_string": str(victim)}, 1),
        ("shared", {"as_bool": True}, 1),
        ("size", {"as_int": len(MINE)}, 1),
        ("dtype", {"as_scalar_type": 1}, 2),
    ]

    def change(value: dict[str, Any]) -> None:
        nodes = value["graph_module"]["graph"]["nodes"]
        [node] = [one for one in nodes if one["target"] == "torch.ops.aten.zeros.default"]
        node["target"] = "torch.ops.aten.from_file.default"
        node["inputs"] = [{"name": name, "arg": arg, "kind": kind} for name, arg, kind in words]

    return changed(saved(Filled(), torch.ones(1, 3, dtype=torch.float64)), archive.MODEL, change)


def changed(data: bytes, record: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """An archive with one record of JSON changed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as result:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.partition("/")[2] == record:
                value = json.loads(content)
                change(value)
                content = json.dumps(value).encode()
            result.writestr(info.filename, content)
    return target.getvalue()


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(MINE)
    return path


def test_the_control_such_a_graph_overwrites_a_file(victim: Path) -> None:
    loaded = torch.export.load(io.BytesIO(mapped(victim))).module()
    assert victim.read_bytes() == MINE
    loaded(torch.ones(2, 3, dtype=torch.float64))
    assert victim.read_bytes() == b"A" * len(MINE)


def test_a_graph_that_maps_a_file_is_refused(victim: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(mapped(victim))
    with pytest.raises(Corrupt, match=r"the operator 'torch\.ops\.aten\.from_file\.default'"):
        graph.load(path)


def test_the_lines_of_the_readme_refuse_it(victim: Path, tmp_path: Path) -> None:
    """Put into the registry's artifacts, with a manifest that agrees."""
    root = kit.make(tmp_path / "workspace")
    retrain.fn(str(root))
    registry = kit.registry(root)
    folder = registry.download(registry.version(1))
    (folder / "model.pt2").write_bytes(mapped(victim))
    manifest.write(folder)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri(registry.workspace))
    try:
        with pytest.raises(Corrupt, match="from_file"):
            mlflow.pyfunc.load_model(f"models:/{kit.MODEL}@champion")
    finally:
        mlflow.set_tracking_uri(before)
    assert victim.read_bytes() == MINE


def nodes(value: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = value["graph_module"]["graph"]["nodes"]
    return found


def argument(**arg: Any) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        nodes(value)[0]["inputs"].append({"name": "more", "arg": arg, "kind": 2})

    return change


def target(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda value: nodes(value)[0].update(target=name)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        *((target(f"torch.ops.{name}"), "the operator") for name in (
            "aten.from_file.default", "aten.as_strided.default", "aten.as_strided_.default",
            "aten.set_.source_Storage", "aten.resize_.default", "aten.empty.memory_format",
            "aten.empty_strided.default", "aten._unsafe_view.default", "aten.save.default",
            "aten.sym_storage_offset.default", "aten.randn.default", "aten.data.default",
            "higher_order.cond", "higher_order.wrap", "triton.kernel", "mine.op.default",
            "prims.as_strided.default", "inductor.resize_storage_bytes_.default",
            "torchvision.nms.default", "profiler._record_function_enter.default",
        )),
        (target("torch.load"), "the operator"),
        (target("_operator.pow"), "the operator"),
        (target("_operator.attrgetter"), "the operator"),
        (argument(as_string="/etc/passwd"), "the argument more = '/etc/passwd'"),
        (argument(as_strings=["a"]), "the argument more"),
        (argument(as_device={"type": "cuda", "index": None}), "the argument more"),
        (argument(as_operator="torch.ops.aten.add.Tensor"), "the argument more"),
        (argument(as_custom_obj={"name": "a", "class_fqn": "b"}), "the argument more"),
        (argument(as_graph={"name": "a", "graph": {}}), "the argument more"),
    ],
)  # fmt: skip
def test_whatever_is_not_on_the_list_is_refused(
    change: Callable[[dict[str, Any]], object], why: str
) -> None:
    plain = saved(nn.Linear(3, 2), torch.ones(1, 3))
    archive.check(plain)
    with pytest.raises(Corrupt, match=why):
        archive.check(changed(plain, archive.MODEL, change))


def test_texts_are_those_that_an_operator_knows() -> None:
    class Summed(nn.Module):
        def forward(self, raw: Tensor) -> Tensor:
            return torch.einsum("a b, a c -> a b c", raw, raw).flatten(1)

    plain = saved(Summed(), torch.ones(1, 3))
    archive.check(plain)
    for text in ("/etc/passwd", "a b, a c", "../x->y", "a b, a c -> a b c\n"):

        def change(value: dict[str, Any], text: str = text) -> None:
            nodes(value)[0]["inputs"][0]["arg"]["as_string"] = text

        with pytest.raises(Corrupt, match="the argument equation"):
            archive.check(changed(plain, archive.MODEL, change))


def test_a_tensor_is_no_view_of_more_than_its_bytes() -> None:
    plain = saved(nn.Linear(3, 2), torch.ones(1, 3))

    def change(value: dict[str, Any]) -> None:
        meta = value["config"]["weight"]["tensor_meta"]
        meta["sizes"], meta["strides"] = [{"as_int": 2**40}, {"as_int": 3}], [{"as_int": 0}] * 2

    wide = changed(plain, archive.CONFIGS[0], change)
    state = torch.export.load(io.BytesIO(wide)).state_dict  # the control: torch takes it
    assert state["weight"].numel() == 3 * 2**40
    with pytest.raises(Corrupt, match="'weight' views more than its own 24 bytes"):
        archive.check(wide)


# -- the list


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_what_is_exported_is_on_the_list(name: str) -> None:
    data = saved(*EXPORTS[name]())
    archive.check(data)
    called = {node["target"] for node in nodes(program(data))}
    assert called <= operators.ALLOWED
    # And what the list has because of it is really called.
    expected = {f"torch.ops.aten.{one}" for one in operators.EXPORTED.get(name, "").split()}
    assert expected <= called


def test_the_list_is_of_exports_that_there_are() -> None:
    assert set(operators.EXPORTED) <= set(EXPORTS)
    listed = " ".join([*operators.EXPORTED.values(), operators.OWN]).split()
    assert len(set(listed)) == len(listed)


def test_every_body_and_every_predictor_is_exported() -> None:
    def family(name: str) -> str:
        return max((one for one in FAMILIES if name.startswith(_stem(one))), key=len, default="")

    assert [name for name in vision.names() if not family(name)] == []
    predicting = {name for name, one in catalogue.discover().items() if one.predictor is not None}
    assert predicting <= {name for case in CASES for name in names_of(case)}


def _stem(name: str) -> str:
    """`swin_v2` of `swin_v2_t`: what the models of a family have in common."""
    known = ("convnext", "densenet", "efficientnet_b", "efficientnet_v2", "mnasnet", "mobilenet_v3",
             "regnet_x", "regnet_y", "resnet", "resnext", "shufflenet_v2", "squeezenet", "swin_v2",
             "swin_", "vgg", "vit_", "wide_resnet", "maxvit")  # fmt: skip
    return next((one for one in known if name.startswith(one)), name)


@pytest.mark.parametrize("name", sorted(operators.OWN.split()))
def test_an_operator_of_users_models_is_a_function_of_numbers(name: str) -> None:
    packet, overload = name.split(".")
    found = getattr(getattr(torch.ops.aten, packet), overload)
    texts = operators.TEXTS.get(f"torch.ops.aten.{name}", {})
    for place, one in enumerate(found._schema.arguments):
        kind = str(one.type)
        assert "str" not in kind or one.name in texts, one
        assert not any(word in kind for word in ("Generator", "Storage", "Stream", "Any")), one
        written = one.alias_info is not None and one.alias_info.is_write
        assert not written or (place == 0 and packet.endswith("_")), one
    drops = {"feature_dropout", "gru", "rnn_relu", "rnn_tanh"}  # in training alone
    assert torch.Tag.nondeterministic_seeded not in found.tags or packet in drops
    assert all("Tensor" in str(one.type) for one in found._schema.returns)


def test_a_model_of_ones_own_that_draws_at_random_is_refused_when_it_is_exported(
    tmp_path: Path,
) -> None:
    from perdure.errors import ConfigError

    class Noisy(nn.Module):
        def forward(self, raw: Tensor) -> Tensor:
            return raw + torch.randn(3)

    with pytest.raises(ConfigError, match=r"the operator 'torch\.ops\.aten\.randn"):
        graph.export(Noisy(), torch.ones(1, 3), tmp_path / "model.pt2")
