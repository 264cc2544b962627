"""Each built-in body: shapes, padding, learning, repeating, saving, exporting."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from perdure.errors import ConfigError
from perdure.strategies.export import graph
from perdure.strategies.models import build, vision
from perdure.strategies.models.parts import BatchNorm

Case = tuple[str, tuple[int, ...], dict[str, Any]]
SMALL = "shufflenet_v2_x0_5"
"""The smallest of torchvision's with batch normalisation."""

CASES: list[Case] = [
    ("mlp", (2, 4, 4), {"hidden": [16]}),
    ("mlp", (6, 3), {"hidden": [16], "dropout": 0.1}),
    ("cnn", (1, 8, 8), {"widths": [8, 16], "dropout": 0.1}),
    ("cnn", (3, 11, 21), {"widths": [8]}),
    ("lstm", (6, 3), {"hidden": 8, "layers": 2, "dropout": 0.1}),
    ("lstm", (6, 3), {"hidden": 8, "bidirectional": False}),
    ("transformer", (6, 3), {"width": 16, "heads": 2, "feed_forward": 16}),
    (
        "transformer", (6, 3),
        {"width": 16, "layers": 1, "positions": "learned", "pooling": "class", "dropout": 0.0},
    ),
    (SMALL, (1, 32, 32), {"norm": "group", "dropout": 0.1}),
    (SMALL, (3, 8, 8), {"size": 32}),
]  # fmt: skip
ITEMS = [case for case in CASES if len(case[1]) == 2 and case[0] != "mlp"]


def made(case: Case, outputs: int = 2) -> nn.Module:
    name, inputs, parameters = case
    torch.manual_seed(0)
    return build(name, inputs, outputs, parameters, Path())


def rows_of(inputs: tuple[int, ...], rows: int) -> tuple[Tensor, Tensor]:
    """Rows of two classes, told apart by the mean of their values.

    Sequences are of every length from 0 on; those of no items are of class 0.
    """
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(rows) % 2
    shift = y.float() * 2 - 1
    x = torch.randn(rows, *inputs, generator=generator)
    x += shift.reshape(-1, *([1] * len(inputs)))
    if len(inputs) == 2:
        lengths = (torch.arange(rows) // 2) % (inputs[0] + 1)
        items = (torch.arange(inputs[0]) < lengths.unsqueeze(1)).float()
        x = x * items.unsqueeze(2)
        x[:, :, -1] = items
        y = torch.where(lengths == 0, torch.zeros_like(y), y)
    return x, y


def train(case: Case, steps: int) -> tuple[nn.Module, list[float]]:
    model = made(case).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    x, y = rows_of(case[1], 28)
    losses = []
    for _ in range(steps):
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        losses.append(float(loss.detach()))
    return model, losses


@pytest.mark.parametrize("case", CASES)
def test_it_learns_more_than_chance(case: Case) -> None:
    # Running statistics of batches lag behind: with 40 steps that model is at chance here.
    steps = {SMALL: 40 if "norm" in case[2] else 100}.get(case[0], 25)
    model, _ = train(case, steps)
    x, y = rows_of(case[1], 70)  # more rows than it has learned, of which 42 are new
    with torch.no_grad():
        right = model.eval()(x[28:]).argmax(1) == y[28:]
    assert float(right.float().mean()) >= 0.8


@pytest.mark.parametrize("case", CASES)
def test_two_trainings_are_bit_for_bit_the_same_and_move_every_weight(case: Case) -> None:
    one, other = train(case, 3), train(case, 3)
    assert one[1] == other[1]
    first = dict(made(case).named_parameters())
    for (name, p), q in zip(one[0].named_parameters(), other[0].parameters(), strict=True):
        assert torch.equal(p, q), name
        assert not torch.equal(p, first[name]), name


@pytest.mark.parametrize("case", CASES)
def test_what_is_saved_gives_the_same_when_it_is_read_back(case: Case, tmp_path: Path) -> None:
    model = train(case, 2)[0].eval()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(9)
    second = build(case[0], case[1], 2, case[2], Path()).eval()
    x, _ = rows_of(case[1], 9)
    with torch.no_grad():
        assert not torch.equal(model(x), second(x))
        second.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(model(x), second(x))


@pytest.mark.parametrize("case", [case for case in CASES if "norm" not in case[2]])
def test_it_exports_for_any_number_of_rows(case: Case, tmp_path: Path) -> None:
    model = train(case, 1)[0].eval()
    x, _ = rows_of(case[1], 14)
    graph.export(model, x, tmp_path / "model.pt2")  # compares 1, 2, 32 and up to 1000 rows
    loaded = graph.load(tmp_path / "model.pt2")
    with torch.no_grad():
        torch.testing.assert_close(loaded(x[:5]), model(x[:5]))


@pytest.mark.parametrize("case", CASES)
def test_a_row_does_not_depend_on_the_others_and_one_row_can_be_trained_on(case: Case) -> None:
    model = made(case)
    x, y = rows_of(case[1], 9)
    functional.cross_entropy(model.train()(x[4:5]), y[4:5]).backward()  # type: ignore[no-untyped-call]  # torch's own
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    with torch.no_grad():
        together = model.eval()(x)
        for row in range(9):
            torch.testing.assert_close(model(x[row : row + 1]), together[row : row + 1])


@pytest.mark.parametrize("case", CASES)
def test_the_last_layer_is_a_linear_one_to_the_outputs(case: Case) -> None:
    for outputs in (1, 5):
        last = [m for m in made(case, outputs).modules() if isinstance(m, nn.Linear)][-1]
        assert last.out_features == outputs
        x, _ = rows_of(case[1], 3)
        model = made(case, outputs).eval()
        assert model(x).shape == (3, outputs)
        assert model(x).dtype == torch.float32


@pytest.mark.parametrize("case", CASES)
def test_dropout_is_there_when_it_is_told(case: Case) -> None:
    model = made(case).train()
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return
    x, _ = rows_of(case[1], 14)
    rate = case[2].get("dropout", 0.1 if case[0] == "transformer" else 0.0)
    assert torch.equal(model(x), model(x)) == (rate == 0)


# -- padding


@pytest.mark.parametrize("case", ITEMS)
def test_padding_changes_nothing_and_items_do(case: Case) -> None:
    model = train(case, 3)[0].eval()
    x, _ = rows_of(case[1], 14)
    padding = x[:, :, -1:] == 0
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    noise[:, :, -1] = 0
    with torch.no_grad():
        plain, padded = model(x), model(torch.where(padding, noise, x))
        torch.testing.assert_close(padded, plain, rtol=0, atol=1e-6)
        # The negative control: with an item in its place, each value counts.
        for row, place in ((13, 0), (13, 5), (9, 3)):
            assert x[row, place, -1] == 1
            other = x.clone()
            other[row, place, 0] += 3.0
            changed = (model(other) - plain).abs().amax(dim=1) > 1e-5
            assert changed.nonzero().flatten().tolist() == [row]


@pytest.mark.parametrize("case", ITEMS)
def test_more_room_for_padding_changes_nothing(case: Case) -> None:
    name, (length, width), parameters = case
    if parameters.get("positions") == "learned":
        return  # each place has weights of its own
    model = train(case, 3)[0].eval()
    longer = build(name, (length + 5, width), 2, parameters, Path()).eval()
    longer.load_state_dict(model.state_dict())
    x, _ = rows_of((length, width), 14)
    with torch.no_grad():
        torch.testing.assert_close(longer(functional.pad(x, (0, 0, 0, 5))), model(x))


@pytest.mark.parametrize("case", ITEMS)
def test_rows_of_only_padding_are_trained_on_without_nan(case: Case) -> None:
    model = made(case).train()
    x = torch.zeros(3, *case[1])
    functional.cross_entropy(model(x), torch.tensor([0, 1, 0])).backward()  # type: ignore[no-untyped-call]  # torch's own
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("case", ITEMS)
def test_the_order_of_the_items_counts(case: Case) -> None:
    model = train(case, 3)[0].eval()
    x, _ = rows_of(case[1], 14)
    full = x[x[:, :, -1].sum(1) == 6]
    with torch.no_grad():
        assert not torch.allclose(model(full), model(full.flip(1)), atol=1e-5)


def test_the_lstm_is_torchs_packed_bidirectional_one() -> None:
    """The way back against torch's own, which packs the rows by their length."""
    model = made(("lstm", (6, 3), {"hidden": 8})).eval()
    layer: Any = model.get_submodule("layers.0")
    torchs = nn.LSTM(3, 8, batch_first=True, bidirectional=True)
    for name, value in layer.ahead.named_parameters():
        torchs.get_parameter(name).data.copy_(value)
    for name, value in layer.back.named_parameters():
        torchs.get_parameter(f"{name}_reverse").data.copy_(value)
    x, _ = rows_of((6, 3), 14)
    lengths = x[:, :, -1].sum(1).long()
    x, lengths = x[lengths > 0], lengths[lengths > 0]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(torchs(packed)[0], batch_first=True)
    places = torch.arange(6)
    ends = lengths.unsqueeze(1)
    reverse = torch.where(places < ends, ends - 1 - places, places)
    found = layer(x, reverse) * x[:, :, -1:]
    torch.testing.assert_close(found, expected)


# -- images


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 8, 8), (1, 28, 28), (3, 30, 200), (3, 224, 224)])
def test_the_cnn_takes_images_of_any_size(size: tuple[int, int, int]) -> None:
    model = build("cnn", size, 4, {"widths": [4, 4, 4]}, Path()).eval()
    assert model(torch.zeros(1, *size)).shape == (1, 4)
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    assert last.in_features <= 4 * 16
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_torchvisions_model_is_what_is_built() -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    torch.manual_seed(3)
    ours = build("resnet18", (3, 32, 32), 4, {}, Path()).eval()
    assert all(
        torch.equal(p, q) for p, q in zip(theirs.parameters(), ours.parameters(), strict=True)
    )
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))
    # After training too, the running statistics among it.
    theirs.train()(x).sum().backward()
    ours.train()(x).sum().backward()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_one_channel_is_the_same_image_in_grey() -> None:
    torch.manual_seed(3)
    colour = build(SMALL, (3, 32, 32), 4, {}, Path()).eval()
    torch.manual_seed(3)
    grey = build(SMALL, (1, 32, 32), 4, {}, Path()).eval()
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)))


def test_dropout_of_torchvisions_models() -> None:
    for name, layers in (("squeezenet1_1", 1), ("resnet18", 1), ("mobilenet_v3_small", 1)):
        model = build(name, (3, 32, 32), 4, {"dropout": 0.25}, Path())
        found = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
        assert found == [0.25] * layers
    none = build("resnet18", (3, 32, 32), 4, {}, Path())
    assert not any(isinstance(m, nn.Dropout) for m in none.modules())


def test_norm_is_of_batches_or_of_groups() -> None:
    def kinds(norm: str) -> set[type[nn.Module]]:
        model = build(SMALL, (3, 32, 32), 4, {"norm": norm}, Path())
        return {type(m) for m in model.modules() if "Norm" in type(m).__name__}

    assert kinds("batch") == {BatchNorm}
    assert kinds("group") == {nn.GroupNorm}


def test_a_batch_normalisation_of_one_value_takes_its_running_statistics() -> None:
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    x, one = torch.randn(5, 3, 2, 2), torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(ours(x), theirs(x))
    before = ours.running_mean.clone()  # type: ignore[union-attr]  # it tracks them
    expected = theirs.eval()(one)
    torch.testing.assert_close(ours.train()(one), expected)
    torch.testing.assert_close(ours.running_mean, before)
    with pytest.raises(ValueError, match="more than 1 value"):
        theirs.train()(one)


# -- weights from a file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    torch.manual_seed(4)
    root = tmp_path_factory.mktemp("weights")
    net: nn.Module = torchvision.models.get_model(SMALL, weights=None, num_classes=7).train()
    with torch.no_grad():
        net(torch.randn(8, 3, 32, 32) + 1)  # running statistics of its own
    (root / "models").mkdir()
    safetensors.torch.save_file(net.state_dict(), root / "models" / "small.safetensors")
    return root, net.eval()


WEIGHTS = {"weights": "models/small.safetensors"}


def test_weights_are_those_of_the_file(trained: tuple[Path, nn.Module]) -> None:
    root, net = trained
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(build(SMALL, (3, 32, 32), 7, WEIGHTS, root).eval()(x), net(x))
    grey = build(SMALL, (1, 32, 32), 7, WEIGHTS, root).eval()
    torch.testing.assert_close(grey(x[:, :1]), net(x[:, :1].expand(-1, 3, -1, -1)))
    scaled = build(SMALL, (3, 16, 16), 7, {**WEIGHTS, "size": 32, "dropout": 0.1}, root).eval()
    assert torch.isfinite(scaled(x[:, :, :16, :16])).all()


def test_a_last_layer_of_other_classes_is_left_out_and_logged(
    trained: tuple[Path, nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    root, net = trained
    with caplog.at_level(logging.INFO, vision.__name__):
        ours = build(SMALL, (3, 32, 32), 3, WEIGHTS, root).eval()
    assert "the last layer stays untrained: outputs 7, not 3" in caplog.text
    own, theirs = ours.get_submodule("net").state_dict(), net.state_dict()
    for name, value in own.items():
        if name not in ("fc.weight", "fc.bias") and not name.endswith("batches_tracked"):
            assert torch.equal(value, theirs[name]), name
    caplog.clear()
    with caplog.at_level(logging.INFO, vision.__name__):
        build(SMALL, (3, 32, 32), 7, {**WEIGHTS, "norm": "group"}, root)
    assert "tensors are not in the model, first " in caplog.text
    assert "untrained" not in caplog.text


def test_restored_the_file_may_be_gone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"small\.safetensors': cannot be read: No such file"):
        build(SMALL, (3, 32, 32), 7, WEIGHTS, tmp_path)
    assert build(SMALL, (3, 32, 32), 7, WEIGHTS, tmp_path, restored=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shufflenet_v2_x1_0", r"tensors do not fit the model: conv1\.0\.weight|stage"),
        ("resnet18", r"\d+ tensors do not fit the model: conv1\.weight is missing"),
    ],
)
def test_a_file_of_another_model_is_refused(
    trained: tuple[Path, nn.Module], name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, (3, 32, 32), 7, WEIGHTS, trained[0])


def test_a_file_that_could_run_code_is_not_read(tmp_path: Path) -> None:
    # The beginning of a zip file, as torch.save writes it.
    (tmp_path / "resnet18.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ConfigError, match=r"is no safetensors file .* may run code"):
        build("resnet18", (3, 32, 32), 7, {"weights": "resnet18.pth"}, tmp_path)


@pytest.mark.parametrize(
    ("factory", "inputs", "least", "most"),
    [("mlp", 40, 1000, 1000), ("lstm", (128, 33), 33, 200), ("transformer", (128, 33), 33, 100)],
)
def test_an_export_is_tried_on_fewer_rows_of_a_larger_network(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    factory: str,
    inputs: int | tuple[int, int],
    least: int,
    most: int,
) -> None:
    """By what the network computes of a row: of a text that is a thousand times what it has."""
    rows: list[int] = []
    usual = graph.alike

    def counted(expected: Tensor, found: Tensor) -> bool:
        rows.append(len(expected))
        return usual(expected, found)

    monkeypatch.setattr(graph, "alike", counted)
    torch.manual_seed(3)
    model = build(factory, inputs, 2, {}, Path()).eval()
    x = torch.ones(4, *(inputs if isinstance(inputs, tuple) else (inputs,)))
    graph.export(model, x, tmp_path / "model.pt2")
    assert rows[:3] == [1, 2, 32]
    assert least <= rows[3] <= most
    values = graph.size(graph.load(tmp_path / "model.pt2"), x)
    assert rows[3] == min(1000, max(33, graph.TRIED_VALUES // values))
    # Every operation counts, with all steps of a layer: twice the places are twice the values.
    if isinstance(inputs, tuple) and factory == "lstm":
        half = build(factory, (inputs[0] // 2, inputs[1]), 2, {}, Path()).eval()
        graph.export(half, x[:, : inputs[0] // 2], tmp_path / "half.pt2")
        ratio = values / graph.size(graph.load(tmp_path / "half.pt2"), x[:, : inputs[0] // 2])
        assert 1.9 < ratio < 2.1
