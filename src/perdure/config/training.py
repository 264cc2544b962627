"""`[training]` of `perdure.toml`: how one experience is learned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop"]
ScheduleName = Literal["constant", "step", "exponential", "cosine", "plateau"]
Precision = Literal["float32", "bfloat16", "float16"]
Loss = Literal["cross_entropy", "mse", "huber", "mae"]

Share = Annotated[float, Field(ge=0, lt=1)]
Number = Annotated[float, Field(ge=0)]

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False},
    "rmsprop": {
        "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False, "weight_decay": 0.0,
    },
}  # fmt: skip
"""The settings of each optimizer, with their defaults."""

SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "step": {"every": 1, "factor": 0.1},
    "exponential": {"factor": 0.9},
    "cosine": {"lowest": 0.0},
    "plateau": {"factor": 0.1, "patience": 3, "lowest": 0.0},
}
"""The settings of each schedule beside `warmup`, with their defaults."""


def _one_line(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must be one line of text, without control characters")
    return name


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_one_line)]
"""A name that people read."""


class Section(BaseModel):
    """A table of `perdure.toml`: frozen, every key is declared, and no value is converted.

    TOML has types: `true` is no number, and `"1"` no integer. Its arrays are Python's lists, so a
    field that is a tuple is `Field(strict=False)`; what is in it is strict.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class StrategyConfig(Section):
    """One continual-learning strategy and its settings."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the name, as it stands in the file."""
        return dict(self.model_extra or {})


class _Choice(Section):
    """A name, and settings of which each belongs to some of the names."""

    name: str

    def _settings(self, known: dict[str, dict[str, Any]], common: frozenset[str]) -> dict[str, Any]:
        """Every setting of the name: what was given, else its default.

        Raises:
            ValueError: One was given that belongs to another name.
        """
        own = {key: value for key, value in self if key not in common and key != "name"}
        given = {key: value for key, value in own.items() if value is not None}
        strange = sorted(given.keys() - known[self.name].keys())
        if strange:
            setting = strange[0]
            owners = [name for name, settings in known.items() if setting in settings]
            raise ValueError(
                f"{setting} is a setting of {' and '.join(owners)}, not of {self.name}; "
                f"that has {', '.join(known[self.name]) or 'none'}"
            )
        return {**known[self.name], **given}


class OptimizerConfig(_Choice):
    """An optimizer and its settings; what is left out has the default of `OPTIMIZERS`."""

    name: OptimizerName
    momentum: Share | None = None
    nesterov: bool | None = None
    betas: Annotated[tuple[Share, Share], Field(strict=False)] | None = None
    alpha: Share | None = None
    eps: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Number | None = None
    amsgrad: bool | None = None
    centered: bool | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of torch's optimizer, but for the learning rate."""
        return self._settings(OPTIMIZERS, frozenset())

    @model_validator(mode="after")
    def _belong(self) -> OptimizerConfig:
        settings = self.settings
        if settings.get("nesterov") and not settings["momentum"]:
            raise ValueError("nesterov = true needs a momentum above 0")
        return self


class ScheduleConfig(_Choice):
    """How the learning rate goes within an experience; it starts again with each."""

    name: ScheduleName
    warmup: Annotated[int, Field(strict=True, ge=0)] | Share = 0
    """Steps in which the rate rises to `learning_rate`; below 1, their share of all steps."""
    every: Annotated[int, Field(ge=1)] | None = None
    """For `step`: epochs from one fall to the next."""
    factor: Annotated[float, Field(gt=0, lt=1)] | None = None
    """What the rate is multiplied by: at a fall, or, of `exponential`, after every epoch."""
    patience: Annotated[int, Field(ge=0)] | None = None
    """For `plateau`: epochs without a lower loss that are let pass before a fall."""
    lowest: Number | None = None
    """For `cosine` and `plateau`: the least learning rate."""

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of this schedule, without `warmup`."""
        return self._settings(SCHEDULES, frozenset({"warmup"}))

    @model_validator(mode="after")
    def _belong(self) -> ScheduleConfig:
        _ = self.settings
        return self


class AugmentationConfig(Section):
    """What is changed at random in the images of a batch, in training alone; 0 is off."""

    crop: Annotated[int, Field(ge=0)] = 0
    """Pixels of black border that are added, before a part of the old size is cut out."""
    flip: bool = False
    """Left and right change places in half of the groups."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees, at most, to either side."""
    colour: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Brightness, contrast and saturation change by this share at most."""
    erasing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the groups of which a rectangle becomes black."""

    @property
    def on(self) -> bool:
        """Whether there is anything to do."""
        return any(getattr(self, key) for key in type(self).model_fields)


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class TrainingConfig(Section):
    """How one experience is learned."""

    strategies: Annotated[
        tuple[Annotated[StrategyConfig, BeforeValidator(_named)], ...],
        Field(min_length=1, strict=False),
    ] = (StrategyConfig(name="replay"),)
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over an experience's rows; by default 10, and for a table as many as its number of
    rows needs, with early stopping."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients make up one step."""
    optimizer: Annotated[OptimizerConfig, BeforeValidator(_named)] = OptimizerConfig(name="adam")
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    carry_optimizer: bool = True
    """Whether the optimizer's state goes on from experience to experience."""
    schedule: Annotated[ScheduleConfig, BeforeValidator(_named)] = ScheduleConfig(name="constant")
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Greatest 2-norm of all gradients together."""
    l1: Number = 0.0
    """Added to the loss: l1 times the sum of the absolute values of all parameters."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Epochs without a lower validation loss after which an experience ends."""
    min_delta: Number = 0.0
    """A validation loss is lower if it is so by more than this."""
    loss: Loss | None = None
    """By default `cross_entropy` or `mse`, as fits the task."""
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    label_smoothing: Share = 0.0
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Precision = "float32"
    """For the forward and backward passes; weights, optimizer and gradients are float32."""
    compile: bool = False
    deterministic: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    threads: Annotated[int, Field(ge=0)] = 1
    """CPU threads of torch; 0 lets torch choose. With a fixed number the weights do not
    depend on how many cores a machine has; small models are fastest with one."""

    def faults(self, task: str, validation: float) -> list[str]:
        """What does not fit the rest of the configuration, each with its key."""
        found = []
        classifies = task == "classification"
        lowest = self.schedule.lowest
        if lowest is not None and lowest > self.learning_rate:
            found.append(
                f"training.schedule.lowest = {lowest} is above "
                f"training.learning_rate = {self.learning_rate}"
            )
        if self.loss is not None and classifies != (self.loss == "cross_entropy"):
            fitting = "cross_entropy" if classifies else "mse, huber or mae"
            found.append(f"training.loss = {self.loss!r} does not fit data.task = {task!r}; "
                         f"{fitting} does")  # fmt: skip
        if not classifies:
            found += [
                f"training.{key} is for a classification; data.task is {task!r}"
                for key in ("class_weights", "label_smoothing")
                if getattr(self, key)
            ]
        if self.patience is not None and not validation:
            found.append(
                f"training.patience = {self.patience} watches the validation rows; "
                "data.validation = 0 leaves none"
            )
        return found
