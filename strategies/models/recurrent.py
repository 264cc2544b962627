"""A recurrent body for texts and sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perdure.strategies.models.parts import pooled, present, share, switch, whole


class _Layer(nn.Module):
    """An LSTM over the items, and one over the items in reverse.

    torch's own bidirectional LSTM would begin its way back in the padding; packing a batch
    against that depends on its lengths, which an exported graph cannot. So the items of each
    row are put in reverse, and padding stays behind them, where it comes too late to matter.
    """

    def __init__(self, width: int, hidden: int, bidirectional: bool) -> None:
        super().__init__()
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.back = nn.LSTM(width, hidden, batch_first=True) if bidirectional else None

    def forward(self, x: Tensor, reverse: Tensor) -> Tensor:
        """Float32 (rows, length, width) and places (rows, length) to (rows, length, 1|2 hidden)."""
        ahead: Tensor = self.ahead(x)[0]
        if self.back is None:
            return ahead
        back = _taken(self.back(_taken(x, reverse))[0], reverse)
        return torch.cat([ahead, back], dim=2)


def _taken(x: Tensor, places: Tensor) -> Tensor:
    return torch.gather(x, 1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))


class Lstm(nn.Module):
    """See `lstm`."""

    def __init__(
        self, width: int, outputs: int, hidden: int, layers: int, bidirectional: bool, rate: float
    ) -> None:
        super().__init__()
        both = hidden * (2 if bidirectional else 1)
        self.layers = nn.ModuleList(
            _Layer(both if n else width, hidden, bidirectional) for n in range(layers)
        )
        self.dropout = nn.Dropout(rate)
        self.seek = nn.Linear(both, both)
        self.weigh = nn.Linear(both, 1, bias=False)
        self.head = nn.Linear(both, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (rows, length, width) to (rows, outputs)."""
        items = present(x)
        count = items.sum(dim=1, keepdim=True)
        places = torch.arange(x.shape[1], device=x.device)
        reverse = torch.where(places < count, count - 1 - places, places)
        for layer in self.layers:
            x = self.dropout(layer(x, reverse))
        weights = self.weigh(torch.tanh(self.seek(x))).squeeze(2)
        outputs: Tensor = self.head(self.dropout(pooled(x, items, weights)))
        return outputs


def lstm(
    inputs: tuple[int, int],
    outputs: int,
    hidden: int = 64,
    layers: int = 1,
    bidirectional: bool = True,
    dropout: float = 0.0,
) -> nn.Module:
    """Long short-term memory, in both directions, with attention over the items.

    Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; both
    directions: Graves and Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042;
    attention: Lin et al. 2017, https://arxiv.org/abs/1703.03130, with one vector:

        α = softmax over the items of vᵀ tanh(W h_t + b),   outputs = head(Σ_t α_t h_t)

    Float32 (rows, length, width) to (rows, outputs). The last value of each place is 1 at an
    item and 0 at padding, which stands behind the items and changes nothing. A row of only
    padding gives what Σ = 0 gives.

    Args:
        inputs: (length, width).
        outputs: Width of the output.
        hidden: Width of the memory in each direction.
        layers: Of LSTMs, 1 to 8.
        bidirectional: Whether there is a way back.
        dropout: Share of each layer's outputs set to zero in training, 0 to below 1.

    Raises:
        ValueError: A parameter is out of range.
    """
    return Lstm(
        inputs[1],
        outputs,
        whole("hidden", hidden),
        whole("layers", layers, 1, 8),
        switch("bidirectional", bidirectional),
        share("dropout", dropout),
    )
