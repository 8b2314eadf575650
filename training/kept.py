"""What a run keeps of itself until its version is registered, so that a killed one goes on with the
dataset it began with: the log may have grown since.
"""

import json
import os
import shutil
from pathlib import Path

from msgspec import DecodeError
from msgspec.json import decode, encode

from training.curation.card import CARD
from training.curation.prepare import Prepared
from training.learning.checkpoints import clear
from training.learning.learn import ANSWERS
from training.learning.sft import ADAPTER

_PREPARED = "prepared.json"
DATASET = "dataset"


def keep(prepared: Prepared, folder: Path) -> None:
    """Write down what was prepared; it appears whole, after the dataset."""
    aside = folder / f".{_PREPARED}"
    aside.write_bytes(encode(prepared))
    os.replace(aside, folder / _PREPARED)


def kept(folder: Path) -> Prepared | None:
    """What was prepared, if it is whole and has the digest that the dataset's card records."""
    try:
        prepared = decode((folder / _PREPARED).read_bytes(), type=Prepared)
        recorded = json.loads((folder / DATASET / CARD).read_bytes())["digest"]
    except (FileNotFoundError, DecodeError, json.JSONDecodeError):
        return None
    return prepared if prepared.dataset.digest == recorded else None


def start_over(folder: Path) -> None:
    """Clear away what is not whole."""
    forget(folder)
    shutil.rmtree(folder / DATASET, ignore_errors=True)


def forget(folder: Path) -> None:
    """Clear away what only a run that goes on needs; a registered version has the weights."""
    clear(folder)
    for learned in (ADAPTER, ANSWERS):
        shutil.rmtree(folder / learned, ignore_errors=True)
    (folder / _PREPARED).unlink(missing_ok=True)
