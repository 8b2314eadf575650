"""Model folders that this engine cannot serve are refused with a reason."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.engines.embedded.errors import ModelUnusable
from adapters.engines.embedded.model import LoadedModel


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "mistral", "sliding_window": 128}, "sliding-window attention (128)"),
        ({"layer_types": ["full_attention", "sliding_attention"] * 15}, "sliding_attention"),
        ({"model_type": "nothing"}, "cannot be loaded as a language model"),
    ],
)
def test_unsupported_models(
    base_model: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(base_model, folder, copy_function=_link)
    config = json.loads((base_model / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, **options}))
    with pytest.raises(ModelUnusable) as refused:
        LoadedModel.load(folder)
    assert reason in str(refused.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="holds no model"):
        LoadedModel.load(tmp_path / "nothing", dtype=torch.float32)


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)
