"""What a strategy says about itself, without torch or Avalanche."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from perdure.config import Config, Task

if TYPE_CHECKING:
    from torch import nn

    from perdure.strategies.learner.state import State
    from perdure.strategies.plugins.base import Remembering


class Settings(BaseModel):
    """A strategy's settings in `perdure.toml`: frozen, and every one is declared."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        strict=True,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class Strategy:
    """A continual-learning strategy: its name, its settings, what it fits.

    Each module of this package that holds a strategy names it `STRATEGY`.
    """

    name: str
    summary: str
    """What it keeps, in one line."""
    settings: type[Settings] = Settings
    fits: tuple[Task, ...] = ("classification", "regression")
    memory: str = "nothing"
    """How large what it keeps is."""
    cost: str = "nothing"
    """What it adds to a step, and to an experience."""
    fails: str = ""
    """When it does not help."""
    reference: str = ""
    """The paper: authors, year, link."""
    grows: bool = True
    """Whether new classes may appear in a later experience."""
    bounded: bool = True
    """Whether what it keeps, and the cost of an experience, are bounded whatever the number
    of experiences; only the references `cumulative` and `joint` are not."""
    copies_rows: bool = False
    """Whether it trains on a copy of the new rows and those that it keeps, joined: then each lies
    in memory twice."""
    resets_model: bool = False
    """Whether every experience begins with a new model; a learner whose first weights are those
    of a file then keeps them."""
    parallel: bool = False
    """Whether several processes that take a part of each batch learn what one does: what it
    computes of rows is of the whole batch, see `parallel.group`, and so are its random numbers."""
    combines: frozenset[str] = field(default_factory=frozenset)
    """Other strategies that it works beside."""
    standalone: str = ""
    """Why it works beside no other strategy, for the error message; ends without a full stop."""
    conflicts_reason: str = ""
    """Why it works beside some strategies and not beside others; ends without a full stop."""
    unfit: Callable[[Any, Config], str] | None = None
    """Why settings do not fit the rest of the configuration, as `key = value: reason`, the key
    below that of the strategy; empty where they do."""
    plugin: Callable[[Any], Remembering] | None = None
    """Makes the Avalanche plugin from the settings; None: plain training, with no memory.
    Avalanche is imported when it is called, not before."""
    predictor: Callable[[nn.Module, State], nn.Module] | None = None
    """From the network and what the strategy remembers to the network that predicts: as
    prepared rows go in, outputs come out, and `torch.export` must take it. None: the network
    itself. Torch is imported when it is called, not before, and Avalanche never."""
