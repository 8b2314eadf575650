"""`turnout engine`: serve a model with run-time LoRA adapters, in a process of its own."""

import json
import os
from pathlib import Path
from typing import Protocol

import click

SERVED_NAME = "smollm2-135m"


class EngineWorkspace(Protocol):
    """What the command needs of the workspace."""

    @property
    def base_model(self) -> Path:
        """Folder of the default model; prepared on first access."""


def default_threads() -> int:
    """Half of the processors, at least one.

    The other half stays for the gateway and for tokenising: compute threads wait for each other at
    every layer, so one that shares its processor slows all of them many times over.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


@click.command("engine")
@click.option(
    "--model", type=click.Path(path_type=Path), help="Model folder (default: the default model)."
)
@click.option(
    "--served-model-name", default=SERVED_NAME, show_default=True, help="Name of the base model."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8100, show_default=True)
@click.option("--max-batch-size", type=click.IntRange(1, 256), default=16, show_default=True)
@click.option(
    "--max-model-len",
    type=click.IntRange(min=2),
    help="Tokens of prompt and answer (default: the model's).",
)
@click.option(
    "--max-loras",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Adapters in one batch.",
)
@click.option("--max-lora-rank", type=click.IntRange(1, 512), default=64, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Compute threads (default: half of the processors).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as one JSON document.")
@click.pass_obj
def engine(
    workspace: EngineWorkspace,
    model: Path | None,
    served_model_name: str,
    host: str,
    port: int,
    max_batch_size: int,
    max_model_len: int | None,
    max_loras: int,
    max_lora_rank: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Serve a model and its LoRA adapters over vLLM's HTTP surface.

    Anyone who reaches the port can load adapters: keep it on a private address, behind the gateway.
    """
    # Must be set before huggingface_hub is imported.
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # Heavy optional extra; `turnout engine --help` answers without it.
    import torch
    import uvicorn

    from adapters.engines.embedded.batcher import Batcher
    from adapters.engines.embedded.model import LoadedModel
    from adapters.engines.embedded.server import create_app

    torch.set_num_threads(threads or default_threads())
    folder = (model or workspace.base_model).absolute()
    loaded = LoadedModel.load(folder, max_lora_rank=max_lora_rank)
    batcher = Batcher(loaded, max_batch_size, max_model_len, max_loras)
    app = create_app(batcher, served_model_name)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    listener = config.bind_socket()
    address = f"http://{host}:{listener.getsockname()[1]}"
    click.echo(
        json.dumps({"url": address, "model": served_model_name, "root": str(folder)})
        if as_json
        else f"engine: {served_model_name} on {address} ({batcher.max_model_len} tokens of context)"
    )
    uvicorn.Server(config).run(sockets=[listener])
