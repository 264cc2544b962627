"""Importances against closed forms and one backward pass for each row."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perdure.errors import UsageError
from perdure.strategies.features.modules import Inputs, Network
from perdure.strategies.importance.fisher import fisher, sensitivity
from perdure.strategies.importance.layer_gradients import Slopes, by_layers
from perdure.strategies.importance.row_gradients import by_rows, by_vmap, choose, evaluating
from perdure.strategies.models import build
from tests.strategies.small import spec_of

LOSS = nn.CrossEntropyLoss()
Scalar = Callable[[Tensor, Tensor], Tensor]


def each_row(
    model: nn.Module, scalar: Scalar, x: Tensor, y: Tensor, measure: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The definition: one forward and backward pass for each row, in evaluation mode."""
    model.eval()
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    total = {n: torch.zeros_like(p) for n, p in named.items()}
    for row in range(len(x)):
        value = scalar(model(x[row : row + 1]), y[row : row + 1])
        for name, g in zip(
            named, torch.autograd.grad(value, list(named.values()), allow_unused=True), strict=True
        ):
            if g is not None:
                total[name] += measure(g) / len(x)
    return total


def squared_length(outputs: Tensor, _: Tensor) -> Tensor:
    return (outputs**2).sum()


def agree(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-12, msg=name)
    assert sum(float(value.sum()) for value in expected.values()) > 0


def way_of(model: nn.Module, x: Tensor) -> str:
    with evaluating(model):
        return choose(model, torch.square, x[:3]).name


# -- closed forms


def logistic() -> tuple[nn.Linear, Tensor, Tensor, Any, Any]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.integers(0, 2, 300)
    model = nn.Linear(3, 2).double()
    weight, bias = (p.detach().numpy() for p in (model.weight, model.bias))
    return model, torch.tensor(x), torch.tensor(y), x @ weight.T + bias, x


def test_fisher_of_a_logistic_model_is_that_of_its_formula() -> None:
    model, inputs, labels, z, x = logistic()
    # ∂ℓ/∂z = softmax(z) - onehot(y), and z = W x + b: no autograd in sight.
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    residual = p - np.eye(2)[labels.numpy()]
    expected = np.einsum("no,ni->oi", residual**2, x**2) / len(x)
    found = fisher(model, LOSS, inputs, labels)
    np.testing.assert_allclose(found["weight"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["bias"], (residual**2).mean(axis=0), rtol=1e-10)


def test_sensitivity_of_a_linear_model_is_that_of_its_formula() -> None:
    model, inputs, _, z, x = logistic()
    # ∂‖z‖²/∂W = 2 z xᵀ
    found = sensitivity(model, inputs)
    expected = np.einsum("no,ni->oi", np.abs(2 * z), np.abs(x)) / len(x)
    np.testing.assert_allclose(found["weight"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["bias"], np.abs(2 * z).mean(axis=0), rtol=1e-10)


# -- every built-in, and every way


def rows_for(inputs: Inputs, rows: int) -> Tensor:
    """Rows of standard normal values; of sequences, each of another length, one of them 0."""
    shape = (inputs,) if isinstance(inputs, int) else inputs
    x = torch.randn(rows, *shape)
    if len(shape) == 2:
        places = torch.arange(shape[0]).unsqueeze(0)
        items = (places < (torch.arange(rows) % (shape[0] + 1)).unsqueeze(1)).float()
        x = x * items.unsqueeze(2)
        x[:, :, -1] = items
    return x


BODIES: list[tuple[str, Inputs, dict[str, Any], str]] = [
    ("mlp", 5, {"hidden": [6], "dropout": 0.3}, "layers"),
    ("mlp", (2, 3, 4), {"hidden": [6]}, "layers"),
    ("cnn", (1, 8, 8), {"widths": [4, 6], "dropout": 0.3}, "layers"),
    ("cnn", (3, 9, 13), {"widths": [5]}, "layers"),
    ("lstm", (4, 3), {"hidden": 5, "layers": 2, "dropout": 0.3}, "layers"),
    ("lstm", (4, 3), {"hidden": 5, "bidirectional": False}, "layers"),
    ("transformer", (4, 3), {"width": 8, "heads": 2, "feed_forward": 8}, "layers"),
    (
        "transformer", (4, 3),
        {"width": 8, "heads": 2, "layers": 1, "positions": "learned", "pooling": "class"}, "layers",
    ),
    ("squeezenet1_1", (3, 32, 32), {"norm": "group"}, "layers"),
    ("shufflenet_v2_x0_5", (1, 32, 32), {}, "layers"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "parameters", "way"), BODIES)
def test_every_built_in_has_the_importances_of_one_backward_pass_a_row(
    name: str, inputs: Inputs, parameters: dict[str, Any], way: str
) -> None:
    torch.manual_seed(0)
    model = build(name, inputs, 3, parameters, Path()).double()
    for module in model.modules():  # as after training: neither 0 and 1 nor the same for all
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    x, y = rows_for(inputs, 7).double(), torch.randint(0, 3, (7,))
    assert way_of(model, x) == way
    agree(fisher(model, LOSS, x, y), each_row(model, LOSS, x, y, torch.square))
    agree(sensitivity(model, x), each_row(model, squared_length, x, y, torch.abs))


class Tied(nn.Module):
    """Uses a layer's weight behind the layer's back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(x)
        return torch.tanh(hidden) @ self.layer.weight


class Twice(Tied):
    """Calls a layer twice."""

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(torch.tanh(self.layer(x)))
        return hidden


class Flat(nn.Module):
    """Calls a layer with the rows and places in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = torch.tanh(self.layer(x.reshape(-1, 2)))
        return hidden.reshape(len(x), 2, 4).mean(dim=1)


class Stray(Tied):
    """Has a parameter outside its layers, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(x)
        return hidden * self.scale


class Last(nn.Module):
    """A recurrent layer of which the last state is used, not the outputs."""

    def __init__(self, kind: Any, **settings: Any) -> None:
        super().__init__()
        self.cells = kind(2, 3, batch_first=True, **settings)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = self.cells(x.reshape(len(x), 2, 2))[1]
        state = state[0] if isinstance(state, tuple) else state
        found: Tensor = self.head(state[-1])
        return found


class Branches(Tied):
    """Takes the one way or the other: nothing that torch can batch."""

    def forward(self, x: Tensor) -> Tensor:
        found = [row * 2 if float(row.sum()) > 0 else row for row in x]
        hidden: Tensor = self.layer(torch.stack(found)) * self.layer.bias
        return hidden


class Codes(nn.Module):
    """An embedding of several codes a row, some of them equal, and one that is padding."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 3, padding_idx=0, **settings)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.words((x * 2).round().long() % 5).sum(dim=1))
        return found


class Adapted(nn.Linear):
    """A linear layer with a parameter of its own, of no effect as yet."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.scale = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * super().forward(x).detach().square() * 1e-9


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    model[3].bias.requires_grad_(False)
    return model


def shared() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def images(*layers: nn.Module) -> nn.Module:
    """Rows of 4 values as images of 1 x 2 x 2."""
    return nn.Sequential(nn.Unflatten(1, (1, 2, 2)), *layers, nn.Flatten(), nn.LazyLinear(4))


def linear(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), *between, nn.Linear(8, 4))


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (lambda: nn.Linear(4, 4, bias=False), "layers"),
        (lambda: linear(nn.Tanh(), nn.LayerNorm(8)), "layers"),
        (lambda: linear(nn.LayerNorm(8, bias=False)), "layers"),
        (lambda: linear(nn.BatchNorm1d(8)), "layers"),
        (lambda: linear(nn.BatchNorm1d(8, affine=False)), "layers"),
        # What the hook saw is overwritten.
        (lambda: linear(nn.ReLU(inplace=True)), "layers"),
        (lambda: linear(nn.PReLU()), "vmap"),
        (lambda: images(nn.Conv2d(1, 4, 2, padding=1, groups=1), nn.GroupNorm(2, 4)), "layers"),
        (lambda: images(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 2, 2, groups=2, bias=False)), "layers"),
        (lambda: images(nn.Conv2d(1, 4, 2, dilation=(1, 2), padding=(1, 2))), "layers"),
        (lambda: images(nn.Conv2d(1, 4, 3, padding="same")), "vmap"),
        (lambda: images(nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular")), "vmap"),
        (lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv1d(2, 4, 2), nn.Flatten()), "vmap"),
        (Codes, "layers"),
        (lambda: Codes(scale_grad_by_freq=True), "vmap"),
        (frozen, "layers"),
        (Twice, "layers"),
        (Flat, "vmap"),
        (Stray, "vmap"),
        (Adapted, "vmap"),
        (Tied, "vmap"),
        (shared, "vmap"),
        (Branches, "rows"),
        (lambda: Last(nn.LSTM), "rows"),
        (lambda: Last(nn.LSTM, num_layers=2), "rows"),
        (lambda: Last(nn.GRU), "rows"),
    ],
)
def test_the_quickest_way_that_is_right(make: Callable[[], nn.Module], way: str) -> None:
    torch.manual_seed(0)
    model = make()
    model(torch.zeros(2, 4))  # lazy layers take their width
    model.double()
    x, y = torch.randn(30, 4).double(), torch.randint(0, 4, (30,))
    assert way_of(model, x) == way
    found = fisher(model.train(), LOSS, x, y), sensitivity(model, x)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    agree(found[0], each_row(model, LOSS, x, y, torch.square))
    agree(found[1], each_row(model, squared_length, x, y, torch.abs))


def test_all_three_ways_agree_and_a_wrong_one_would_be_noticed() -> None:
    torch.manual_seed(0)
    model = linear(nn.Tanh()).double().eval()
    x, slopes = torch.randn(20, 4).double(), torch.randn(20, 4).double()
    given: Slopes = lambda outputs: slopes[: len(outputs)]  # noqa: E731 (as long as its name)
    exact = by_rows(model, torch.square, x, given)
    for way in (by_vmap, by_layers):
        agree(way(model, torch.square, x, given), exact)
    tied = Tied().double().eval()
    wrong = by_layers(tied, torch.square, x, given)
    right = by_rows(tied, torch.square, x, given)
    assert not torch.allclose(wrong["layer.weight"], right["layer.weight"])
    assert choose(tied, torch.square, x[:3]).name == "vmap"


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.5]).double()),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.5]).double(), label_smoothing=0.1),
    ],
)
def test_the_loss_is_that_of_a_single_row(loss: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    x, y = torch.randn(40, 4).double(), torch.randint(0, 3, (40,))
    y[[0, 19, 39]] = 1  # the rows that are tried: of one class, whose weight falls out
    assert len(set(y.tolist())) == 3
    expected = each_row(model, loss, x, y, torch.square)
    agree(fisher(model, loss, x, y), expected)
    order = torch.cat([(y == label).nonzero()[:, 0] for label in range(3)])
    agree(fisher(model, loss, x[order], y[order]), expected)


# -- chunks, rows, modes


def test_importances_do_not_depend_on_the_chunks_or_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 6, 2, padding=1), nn.ReLU(), nn.Dropout(0.5))
    for model in (images(*layers), linear(nn.Dropout(0.5)), Stray(), Branches()):
        model(torch.zeros(2, 4))
        model.double()
        x, y = torch.randn(50, 4).double(), torch.randint(0, 4, (50,))
        with monkeypatch.context() as patch:
            whole = fisher(model, LOSS, x, y)
            patch.setattr("perdure.strategies.importance.row_gradients.CHUNK_ROWS", 7)
            patch.setattr("perdure.strategies.importance.layer_rules.AT_ONCE", 100)
            order = torch.randperm(50)
            agree(fisher(model, LOSS, x[order], y[order]), whole)
            assert list(whole) == [name for name, _ in model.named_parameters()]


def test_memory_is_bounded_by_what_a_row_needs() -> None:
    small, large = linear().eval(), build("cnn", (3, 64, 64), 2, {}, Path()).eval()
    assert choose(small, torch.square, torch.randn(3, 4)).chunk == 4096
    values = 3 * 32 * 64 * 64  # the first convolution, normalisation and ReLU alone
    assert choose(large, torch.square, torch.randn(3, 3, 64, 64)).chunk < 2**25 / values
    # Where a chunk would be one row, a gradient for each of a chunk's rows is no help.
    assert choose(Wide(), torch.square, torch.randn(3, 4)).name == "rows"


class Wide(Stray):
    """With more parameters than values are held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(2**25 // 2 + 1))


def test_some_of_the_rows_are_drawn_from_torchs_stream() -> None:
    torch.manual_seed(0)
    model = linear().double()
    x, y = torch.randn(60, 4).double(), torch.randint(0, 4, (60,))
    torch.manual_seed(5)
    chosen = torch.randperm(60)[:20]
    torch.manual_seed(5)
    found = fisher(model, LOSS, x, y, rows=20)
    after = torch.get_rng_state()
    agree(found, each_row(model, LOSS, x[chosen], y[chosen], torch.square))
    assert not torch.equal(found["0.bias"], fisher(model, LOSS, x, y, rows=20)["0.bias"])
    torch.manual_seed(5)
    agree(
        sensitivity(model, x, rows=20),
        each_row(model, squared_length, x[chosen], y[chosen], torch.abs),
    )
    assert torch.equal(torch.get_rng_state(), after)
    for rows in (None, 60, 61):  # all of them: nothing is drawn
        agree(fisher(model, LOSS, x, y, rows), each_row(model, LOSS, x, y, torch.square))
        assert torch.equal(torch.get_rng_state(), after)
    with pytest.raises(UsageError, match="of 0 rows"):
        fisher(model, LOSS, x, y, rows=0)
    with pytest.raises(UsageError, match="of 0 rows"):
        sensitivity(model, x[:0])


def test_a_repeat_is_bit_for_bit_the_same_and_changes_nothing() -> None:
    torch.manual_seed(0)
    model = build("cnn", (1, 8, 8), 3, {"widths": [4], "dropout": 0.5}, Path()).train()
    model.get_submodule("1").eval()  # a part that is kept as it is
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, y = torch.randn(40, 1, 8, 8), torch.randint(0, 3, (40,))
    one, other = fisher(model, LOSS, x, y), fisher(model, LOSS, x, y)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_row_is_enough() -> None:
    model = linear().double()
    x, y = torch.randn(1, 4).double(), torch.tensor([2])
    agree(fisher(model, LOSS, x, y), each_row(model, LOSS, x, y, torch.square))


def test_an_unseen_category_has_no_importance() -> None:
    torch.manual_seed(0)
    spec = spec_of()
    inputs = Network.inputs(spec)
    assert isinstance(inputs, int)
    network = Network(spec, nn.Linear(inputs, 2)).double()
    x = torch.randn(40, 5).double()
    x[:, 4] = torch.randint(0, 4, (40,))
    y = torch.randint(0, 2, (40,))
    assert way_of(network, x) == "layers"
    found = fisher(network, LOSS, x, y)
    agree(found, each_row(network, LOSS, x, y, torch.square))
    importance = found["embeddings.0.weight"].sum(dim=1)
    assert importance[1] == 0
    assert (importance[[0, 2, 3]] > 0).all()


def test_regression() -> None:
    torch.manual_seed(0)
    model, loss = nn.Linear(4, 1).double(), nn.MSELoss()
    x, y = torch.randn(25, 4).double(), torch.randn(25, 1).double()
    found = fisher(model, loss, x, y)
    agree(found, each_row(model, loss, x, y, torch.square))
    with torch.no_grad():
        residual = 2 * (model(x) - y)
    assert math.isclose(float(found["bias"]), float(residual.square().mean()), rel_tol=1e-9)
