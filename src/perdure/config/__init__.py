"""`perdure.toml`, parsed once into frozen objects.

Defaults live here and nowhere else. Every fault of a file is reported together with its
key, as a `ConfigError`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from perdure.config.gates import GatesConfig, OwnGateConfig, SliceConfig
from perdure.config.training import Section, StrategyConfig, TrainingConfig
from perdure.config.unattended import (
    NoticeConfig,
    ResourcesConfig,
    RetrainingSchedule,
    SharedConfig,
    TriggerConfig,
)
from perdure.errors import ConfigError, UsageError

__all__ = [
    "CLASSIFICATION_METRICS",
    "CONFIG_NAME",
    "LOWER_IS_BETTER",
    "REGRESSION_METRICS",
    "Check",
    "Config",
    "DataConfig",
    "DriftConfig",
    "EvaluationConfig",
    "GatesConfig",
    "ModelConfig",
    "NoticeConfig",
    "OwnGateConfig",
    "PromotionConfig",
    "ResourcesConfig",
    "RetrainingSchedule",
    "SharedConfig",
    "SliceConfig",
    "StrategyConfig",
    "Task",
    "TournamentConfig",
    "TrackingConfig",
    "TrainingConfig",
    "TriggerConfig",
    "Workspace",
    "faults_of",
    "metrics_of",
    "parse",
    "read",
]

CONFIG_NAME = "perdure.toml"

Task = Literal["classification", "regression"]

CLASSIFICATION_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
REGRESSION_METRICS = ("mae", "rmse", "r2")
LOWER_IS_BETTER = frozenset({"log_loss", "mae", "rmse"})
"""Metrics where less is better."""


def _model_name(name: str) -> str:
    """Check what MLflow, Prefect, files and people must be able to take for a name."""
    if not name.strip() or not name.isprintable() or set(name) & set("/:.%\"'"):
        raise ValueError("must be one line of text, without / : . % and quotation marks")
    return name


class ModelConfig(Section):
    """What is trained, and the name that it is registered under."""

    name: Annotated[str, Field(max_length=200), AfterValidator(_model_name)]
    """Name of the registered model in MLflow."""
    factory: str = "mlp"
    """A built-in model, `package.module:function`, or `path/to/file.py:function`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Passed to the factory by name, after `inputs` and `outputs`."""
    heads: str | None = None
    """A category column of a table; the network has a head of outputs for each of its values."""
    bins: Annotated[int, Field(ge=0, le=256)] | None = None
    """Piecewise-linear features that the model gets of each number of a table, beside the number;
    by default 16 with a built-in factory, and none with another."""


class DataConfig(Section):
    """Where the data is and how its rows are split."""

    target: Annotated[str, Field(min_length=1)]
    task: Task
    path: str = "data"
    """Folder of the experiences, relative to the workspace; DVC tracks it whole."""
    inbox: str = "inbox"
    schema_file: Annotated[str, Field(alias="schema")] = "schema.toml"
    test: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    """Share of the rows held out for the gates, by a hash of their content."""
    validation: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Share of the rows that training watches but does not learn from."""
    min_rows: Annotated[int, Field(ge=2)] = 30
    """A file with fewer accepted rows is not an experience by itself."""
    join: bool | Annotated[int, Field(ge=2)] = True
    """Whether such files wait and are joined until they make an experience, or are refused; a
    number: the files of one ingest with fewer rows than this are joined until they have as many."""

    @field_validator("path")
    @classmethod
    def _path_is_inside(cls, value: str) -> str:
        parts = PurePosixPath(value).parts
        if not parts or not value.isprintable() or parts[0] == "/" or ".." in parts:
            raise ValueError("must be a folder in the workspace, such as 'data'")
        if parts[0].startswith("."):
            raise ValueError("must not be hidden: git, DVC and Perdure have such folders")
        return value

    @property
    def join_rows(self) -> int:
        """A file with fewer accepted rows is joined with those that arrive after it."""
        return self.min_rows if isinstance(self.join, bool) else self.join

    @model_validator(mode="after")
    def _more_is_joined_than_must(self) -> DataConfig:
        if self.join_rows < self.min_rows:
            raise ValueError(
                f"join = {self.join} is less than min_rows = {self.min_rows}: files with fewer "
                "rows than min_rows are joined in any case; true leaves it at that"
            )
        return self

    @model_validator(mode="after")
    def _some_rows_train(self) -> DataConfig:
        if self.test + self.validation > 0.8:
            raise ValueError(
                f"test = {self.test} and validation = {self.validation} leave "
                f"{1 - self.test - self.validation:.0%} of the rows to train on; the least is 20%"
            )
        return self


class EvaluationConfig(Section):
    """What a candidate is measured on."""

    metric: str | None = None
    """The metric of gates, matrix and forgetting; by default `accuracy` or `r2`."""
    max_rows: Annotated[int, Field(ge=100)] = 20_000
    """Test rows of all experiences together; the budget is shared out evenly."""
    window: Annotated[int, Field(ge=2)] = 100
    """The accuracy matrix keeps this many of the latest experiences."""


class DriftConfig(Section):
    """How an arriving experience is compared with what the champion learned from."""

    false_alarms: Annotated[float, Field(ge=0.0001, le=0.2)] | Literal[False] = 0.01
    """Share of the arriving experiences that may be called drifting although nothing drifts;
    `false` compares nothing."""
    broken: Literal["hold", "learn"] = "hold"
    """Whether an experience with a broken column is held before it is learned."""


class PromotionConfig(Section):
    """Who moves the champion."""

    mode: Literal["automatic", "manual"] = "automatic"
    rollback: bool | None = None
    """Whether an older version that is shown to be better takes the champion's place by itself;
    by default where promotion is automatic."""

    @property
    def automatic(self) -> bool:
        """Whether a version that passes becomes the champion by itself."""
        return self.mode == "automatic"

    @property
    def goes_back(self) -> bool:
        """Whether the champion is taken back by itself."""
        return self.automatic if self.rollback is None else self.rollback


class TournamentConfig(Section):
    """How versions are compared on data that arrives, before anything learns from it."""

    contender_for: Annotated[int, Field(ge=1, le=100)] = 5
    """So many experiences a refused version is tried on."""
    rollback_margin: Annotated[float, Field(ge=0, lt=0.25)] = 0.01
    """An older version takes the champion's place if its loss is lower by more than this."""
    anchor_every: Annotated[int, Field(ge=2)] | Literal[False] = 10
    """Promotions after which the champion becomes the anchor; `false`: only `perdure pin`."""


class TrackingConfig(Section):
    """Where runs and versions are kept, and which versions stay."""

    uri: str | None = None
    """An MLflow tracking URI; by default SQLite inside the workspace."""
    prune: bool = False
    """Whether each retraining ends with `perdure prune --yes`."""
    keep: Annotated[int, Field(ge=1)] = 10
    """So many of the newest versions that were promoted stay, and so many rollbacks in a row."""
    keep_days: Annotated[int, Field(ge=0)] = 30
    """A version stays for so many days after the last line of the history that names it."""


class Config(Section):
    """The whole of `perdure.toml`."""

    model: ModelConfig
    data: DataConfig
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: GatesConfig = GatesConfig()
    drift: DriftConfig = DriftConfig()
    promotion: PromotionConfig = PromotionConfig()
    tournament: TournamentConfig = TournamentConfig()
    tracking: TrackingConfig = TrackingConfig()
    schedule: RetrainingSchedule = RetrainingSchedule()
    trigger: TriggerConfig = TriggerConfig()
    notify: Annotated[tuple[NoticeConfig, ...], Field(strict=False)] = ()
    resources: ResourcesConfig = ResourcesConfig()
    shared: SharedConfig = SharedConfig()

    @model_validator(mode="after")
    def _metric_fits_task(self) -> Config:
        known = metrics_of(self.data.task)
        if self.evaluation.metric is not None and self.evaluation.metric not in known:
            raise ValueError(
                f"evaluation.metric = {self.evaluation.metric!r} does not fit "
                f"data.task = {self.data.task!r}; choose one of {', '.join(known)}"
            )
        return self

    @model_validator(mode="after")
    def _gates_fit_task(self) -> Config:
        for key in ("lost", "calibration_margin"):
            if self.data.task == "regression" and getattr(self.gates, key) is not False:
                raise ValueError(
                    f"gates.{key} does not fit data.task = 'regression': it is about classes"
                )
        return self

    @model_validator(mode="after")
    def _training_fits(self) -> Config:
        if faults := self.training.faults(self.data.task, self.data.validation):
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _processes_fit(self) -> Config:
        processes, device = self.resources.processes, self.training.device
        if processes != 1 and device not in ("auto", "cpu", "cuda"):
            raise ValueError(
                f"resources.processes = {processes!r} does not fit training.device = {device!r}, "
                'which is one device; choose "auto", "cuda" or "cpu"'
            )
        return self

    @property
    def metric(self) -> str:
        """The metric of gates, matrix and forgetting."""
        default = "accuracy" if self.data.task == "classification" else "r2"
        return self.evaluation.metric or default


def metrics_of(task: Task) -> tuple[str, ...]:
    """Names of the metrics that fit a task."""
    return CLASSIFICATION_METRICS if task == "classification" else REGRESSION_METRICS


Check = Callable[[Config, Path], Sequence[str]]
"""A further check of a parsed configuration: the faults found, each with its key."""


class Workspace:
    """A folder with a `perdure.toml`: its configuration and its paths, all absolute."""

    def __init__(self, root: Path, config: Config) -> None:
        self.root = root
        self.config = config

    @cached_property
    def data(self) -> Path:
        """The folder that DVC tracks."""
        return self.root / self.config.data.path

    @cached_property
    def experiences(self) -> Path:
        """One Parquet file per experience."""
        return self.data / "experiences"

    @cached_property
    def quarantine(self) -> Path:
        """One folder per refused file: the file, its reasons and its record."""
        return self.data / "quarantine"

    @cached_property
    def waiting(self) -> Path:
        """One Parquet file per file that waits for more rows."""
        return self.data / "waiting"

    @cached_property
    def inbox(self) -> Path:
        """Where files arrive."""
        return self.root / self.config.data.inbox

    @cached_property
    def schema(self) -> Path:
        """The schema file, kept in git."""
        return self.root / self.config.data.schema_file

    @cached_property
    def state(self) -> Path:
        """What belongs to this machine alone: locks, scratch, the default MLflow database."""
        return self.root / ".perdure"

    @cached_property
    def tracking_uri(self) -> str:
        """The MLflow tracking and registry URI."""
        return self.config.tracking.uri or f"sqlite:///{self.state / 'mlflow.db'}"


def place(root: Path) -> Path:
    """A workspace's folder, absolute.

    Raises:
        UsageError: Its path has a question mark, where an address of SQLite ends: the registry
            and Prefect's database would be files outside of the workspace.
    """
    found = root.resolve()
    if "?" in str(found):
        raise UsageError(
            f"a workspace cannot be in {found}, for its path has a question mark",
            hint="rename the folder",
        )
    return found


def read(root: Path, checks: Sequence[Check] = ()) -> Workspace:
    """Open the workspace in a folder.

    Args:
        root: A folder with a `perdure.toml`.
        checks: Further checks; their faults are reported together.

    Raises:
        UsageError: There is no `perdure.toml` in the folder, or it is no `place` for one.
        ConfigError: The file is not TOML, or has faults; all of them are listed.
    """
    path = root / CONFIG_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if root.is_dir() and [one.name for one in root.iterdir()] == [".git"]:
            raise UsageError(
                f"{root} is a git clone without files: the default branch of its remote is empty",
                hint="git switch BRANCH, and make a new remote with git init --bare -b main",
            ) from None
        raise UsageError(
            f"no workspace here: {path} does not exist",
            hint="perdure init DIR --data FILE --target COLUMN, or --workspace DIR",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    try:
        config = parse(text, str(path))
    except ConfigError as error:
        found = [f for check in checks for part in _strategies_of(text) for f in check(part, root)]
        raise ConfigError(str(path), [*error.faults, *found]) from error
    faults = [*_links(config, root), *(fault for check in checks for fault in check(config, root))]
    if faults:
        raise ConfigError(str(path), faults)
    return Workspace(place(root), config)


def _links(config: Config, root: Path) -> list[str]:
    """Fault a data folder that is a link, or below one: what goes into it would go elsewhere."""
    names = PurePosixPath(config.data.path)
    folders = [root / one for one in (names, *names.parents[:-1])]
    return [
        f"data.path = {config.data.path!r}: {folder} is a link to {folder.readlink()}"
        for folder in folders
        if folder.is_symlink()
    ]


def _strategies_of(text: str) -> list[Config]:
    """Read only the strategies of a file that has faults elsewhere, if they can be read."""
    try:
        strategies = tomllib.loads(text)["training"]["strategies"]
        return [
            Config.model_validate(
                {
                    "model": {"name": "model"},
                    "data": {"target": "target", "task": "classification"},
                    "training": {"strategies": strategies},
                }
            )
        ]
    except (tomllib.TOMLDecodeError, ValidationError, LookupError, TypeError, RecursionError):
        return []


def parse(text: str, path: str = CONFIG_NAME) -> Config:
    """Parse the text of a `perdure.toml`.

    Raises:
        ConfigError: With every fault and its key.
    """
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [f"not valid TOML: {error}"]) from error
    except RecursionError as error:
        raise ConfigError(path, ["not valid TOML: nested too deeply"]) from error
    except ValidationError as error:
        raise ConfigError(path, faults_of(error)) from error


def faults_of(error: ValidationError) -> list[str]:
    """Pydantic's findings as `key = value: what is wrong`, one line for each value."""
    found: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        subject, message = _fault(dict(detail))
        found.setdefault(subject, []).append(message)
    return [
        f"{subject}: {', or '.join(messages)}" if subject else "; ".join(messages)
        for subject, messages in found.items()
    ]


def _fault(detail: dict[str, Any]) -> tuple[str, str]:
    """`key = value`, or no text where the whole is meant, and what is wrong.

    A value that is of no type of a union has one finding for each of these types.
    """
    # A union's branches add their own names to the location; they are not keys of the file.
    branches = ("float", "int", "str")
    parts = [str(p) for p in detail["loc"] if isinstance(p, int) or p.isidentifier()]
    if len(parts) > 2 and parts[-1] in branches:
        parts.pop()
    key = ".".join(parts)
    message = str(detail["msg"]).removeprefix("Value error, ").replace("valid tuple", "list")
    kind, value = detail["type"], detail.get("input")
    if kind == "missing":
        return key, "is required"
    if kind == "extra_forbidden":
        return key, "unknown key"
    if not key:
        return "", message
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    return f"{key}{shown}", f"{message[0].lower()}{message[1:]}"
