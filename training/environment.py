"""What the bits of a trained adapter depend on beside its data, its base model and its settings."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")


def environment() -> dict[str, Any]:
    """Of this process, as it is now."""
    on_gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was, in words."""
    return [
        f"{name} was {then.get(name, 'not recorded')}, is {now.get(name, 'not there')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
