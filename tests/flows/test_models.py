"""Built-in models that `init` does not choose: each learns, is registered, and serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import torchvision

from perdure.errors import ConfigError
from perdure.flows.initialise import initialise
from perdure.flows.retrain import retrain
from tests.flows.test_kinds import EACH, reviews, served
from tests.promises import kit
from tests.tasks import picture_kit

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own use of pandas warns


def choose(root: Path, old: str, model: str, training: str) -> None:
    """Another model and training than `init` wrote."""
    path = root / "perdure.toml"
    text = path.read_text()
    assert f'factory = "{old}"' in text
    text = text.replace(f'factory = "{old}"', model)
    text = text.replace("[training]\n", f"[training]\n{training}\n")
    path.write_text(text)
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: another model")


def learned(root: Path) -> None:
    (one,) = retrain.fn(str(root)).learned
    assert one.promoted
    assert one.average is not None
    assert one.average["accuracy"] > 0.8


@pytest.mark.parametrize(
    "model",
    ['factory = "resnet18"\nparameters = { norm = "group" }', 'factory = "mlp"'],
    ids=["resnet18", "mlp"],
)
def test_of_images(model: str, tmp_path: Path) -> None:
    root = tmp_path / "w"
    initialise(root, picture_kit.folder(tmp_path / "first", picture_kit.files(EACH)))
    choose(
        root,
        "cnn",
        model,
        'epochs = 6\nbatch_size = 16\naugmentation = { crop = 1 }\nclass_weights = "balanced"',
    )
    learned(root)
    asked = np.stack([picture_kit.pixels("dark", 9000 + n) for n in range(10)])
    assert np.mean(served(root).predict(asked) == "dark") > 0.8


def test_of_images_with_trained_weights_and_batch_normalisation(tmp_path: Path) -> None:
    """As torchvision has it, `norm` left out; the file is needed by the first version alone."""
    name, root = "resnet18", tmp_path / "w"
    initialise(root, picture_kit.folder(tmp_path / "first", picture_kit.files(EACH)))
    chosen = f'factory = "{name}"\nparameters = {{ weights = "trained.safetensors" }}'
    choose(root, "cnn", chosen, "epochs = 6\nbatch_size = 16")
    with pytest.raises(ConfigError, match=r"weights = 'trained\.safetensors': cannot be read"):
        retrain.fn(str(root))
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None)
    safetensors.torch.save_file(net.state_dict(), root / "trained.safetensors")
    learned(root)
    (root / "trained.safetensors").unlink()
    model = served(root)
    for label in picture_kit.CLASSES:
        asked = np.stack([picture_kit.pixels(label, 9000 + n) for n in range(10)])
        assert np.mean(model.predict(asked) == label) > 0.8


def test_transformer(tmp_path: Path) -> None:
    reviews(1).to_csv(tmp_path / "first.csv", index=False)
    root = tmp_path / "w"
    initialise(root, tmp_path / "first.csv", "label")
    more = 'optimizer = { name = "adamw", weight_decay = 0.01 }\nclip_norm = 1.0\n'
    more += 'schedule = { name = "cosine", warmup = 0.1 }\npatience = 8\nlearning_rate = 0.003'
    choose(root, "lstm", 'factory = "transformer"', more)
    learned(root)
    asked = pd.DataFrame({"review": ["the story was superb", "an awful actor, really"]})
    assert served(root).predict(asked).tolist() == ["good", "bad"]
