"""The configuration as it is found, read and, where it is wrong, explained.

Sources, first wins: command-line overrides, `TURNOUT_*` variables, the TOML file. A name nobody
knows stops the start.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.settings import PREFIX, Settings

CONFIG_FILE = "turnout.toml"
# Variables that are ours but no settings.
_OTHER_VARIABLES = frozenset({"TURNOUT_CONFIG", "TURNOUT_DATA"})


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names the setting and the nearest right one."""


def load(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration file, the environment and `overrides` (dotted names, from the command
    line).

    Raises:
        ConfigurationError: one line that names the file, the setting and, for a misspelling, the
        nearest right one.
    """
    path = config or _found_file()
    values = {**_read_toml(path), "config_file": path} if path else {}
    _reject_unknown_variables(os.environ)
    try:
        settings = Settings(**values)
        return _override(settings, overrides or {})
    except ValidationError as exc:
        raise ConfigurationError(_explain(exc, path)) from exc


def _override(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    for dotted, value in overrides.items():
        if value is None:
            continue
        group, _, name = dotted.rpartition(".")
        if group:
            part = getattr(settings, group)
            changed = type(part).model_validate({**part.model_dump(), name: value})
            settings = settings.model_copy(update={group: changed})
        else:
            settings = settings.model_copy(update={name: value})
    return settings


def _found_file() -> Path | None:
    if named := os.environ.get("TURNOUT_CONFIG"):
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).exists() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read ({exc.strerror})") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path}: not valid TOML ({exc})") from exc


def _reject_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for variable in environment:
        head = variable.split("__")[0]
        if variable.startswith(PREFIX) and head not in known | _OTHER_VARIABLES:
            raise ConfigurationError(f"environment variable {variable}: {_nearest(head, known)}")


def _explain(exc: ValidationError, path: Path | None) -> str:
    """The first problem as one line; pydantic's own text covers several screens."""
    # A misspelled name is also a missing one; the misspelling is what to tell.
    problem = min(exc.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in problem["loc"]) or "configuration"
    source = f"{path}: " if path else ""
    if problem["type"] != "extra_forbidden":
        return f"{source}{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{source}{where}: {_nearest(str(problem['loc'][-1]), _siblings(problem['loc']))}"


def _siblings(location: tuple[int | str, ...]) -> set[str]:
    """The setting names that are right beside `location`."""
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            inner = getattr(annotation, "__args__", (annotation,))[0]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return set(model.model_fields)


def _nearest(name: str, known: Iterable[str]) -> str:
    return f"no such setting; {nearest(name, known)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not among the `known`."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
