"""From a file's or a caller's values to an Experiment: every problem at once, with its field."""

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from adapters.errors import InvalidExperiment
from adapters.experiments.design import Arm, Experiment

_MAX_BYTES = 2**20
_MOST_TOLD = 20
_experiment: TypeAdapter[Experiment] = TypeAdapter(Experiment)


def read_experiment(values: Mapping[str, Any]) -> Experiment:
    """The experiment these values describe; raises InvalidExperiment with every problem found."""
    try:
        return _experiment.validate_python(dict(values))
    except ValidationError as exc:
        problems = [_told(error) for error in exc.errors(include_url=False, include_context=False)]
    except (OverflowError, RecursionError) as exc:
        problems = [f"a value is too large or too deep ({type(exc).__name__})"]
    more = len(problems) - _MOST_TOLD
    text = "; ".join(problems[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
    raise InvalidExperiment(text)


def read_file(path: Path) -> dict[str, Any]:
    """The values in a `.toml` or `.json` file; raises InvalidExperiment that names it."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidExperiment(f"{path}: larger than {_MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as exc:
        raise InvalidExperiment(f"{path}: cannot be read ({exc.strerror})") from exc
    except (ValueError, RecursionError) as exc:  # not JSON, TOML or UTF-8, or an endless number
        raise InvalidExperiment(f"{path}: not valid {path.suffix[1:] or 'TOML'} ({exc})") from exc
    if not isinstance(values, dict):
        raise InvalidExperiment(f"{path}: expected an object")
    return values


def _told(error: ErrorDetails) -> str:
    place = [str(part)[:64] for part in error["loc"]]
    where = ".".join(place) or "the experiment"
    if error["type"] == "unexpected_keyword_argument":
        return f"{where}: {_unknown(place)}"
    message = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    # Python refuses to write out an endless number.
    short = given.bit_length() <= 64 if isinstance(given, int) else isinstance(given, str | float)
    said = f", not {str(given)[:64]!r}" if short else ""
    return f"{where}: {message[:200]}{said}"


def _unknown(place: list[str]) -> str:
    """What to say of a field nobody knows."""
    name = place[-1]
    in_arm = len(place) == 3 and place[0] == "arms"
    if in_arm and name == "tier":
        return "no such field; a general tier is named in 'model'"
    if in_arm or len(place) == 1:
        known = [field.name for field in fields(Arm if in_arm else Experiment)]
        near = difflib.get_close_matches(name, known, 1)
        return f"no such field; did you mean {near[0]!r}?" if near else f"known are {known}"
    return "no such field"
