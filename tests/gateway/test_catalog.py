"""A change of configuration, packs or router is taken up while running; a bad one is refused."""

import os
import shutil
from pathlib import Path

import pytest

from adapters.errors import PackError
from adapters.store import Store
from gateway.catalog import LiveCatalog
from gateway.configuration import ConfigurationError, load
from tests.conftest import ROOT

CONFIG = """
state = "{state}"
[[engines]]
name = "local"
urls = ["http://127.0.0.1:1"]
model = "tiny"
[[targets]]
name = "general"
engine = "local"
[[packs]]
path = "{pack}"
engine = "local"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "pack.toml").write_text('name = "roses"\ntitle = "Roses"\n')
    (pack / "queries.jsonl").write_text('{"text": "prune", "label": "roses"}\n')
    path = tmp_path / "turnout.toml"
    path.write_text(CONFIG.format(state=tmp_path / "state", pack=pack))
    return path


@pytest.fixture
def live(config: Path) -> LiveCatalog:
    settings = load(config)
    return LiveCatalog(settings, Store(settings.store_url), lambda: load(config))


def change(path: Path, text: str) -> None:
    """Write a file with a time stamp that differs for sure."""
    path.write_text(text)
    later = path.stat().st_mtime + 10
    os.utime(path, (later, later))


def test_nothing_changed_is_cheap_and_says_so(live: LiveCatalog) -> None:
    before = live.now
    assert live.refresh() is False and live.now is before


def test_a_changed_configuration_is_taken_up(live: LiveCatalog, config: Path) -> None:
    change(config, config.read_text() + '[aliases]\n"gpt-4o" = "auto"\n')
    assert live.refresh() is True
    assert live.now.settings.aliases == {"gpt-4o": "auto"}


@pytest.mark.parametrize("addition", ["[srever]\nport = 1\n", "junk", "[aliases]\nx = 3\n"])
def test_a_bad_change_is_refused_and_a_mended_one_taken(
    live: LiveCatalog, config: Path, addition: str
) -> None:
    good, before = config.read_text(), live.now
    change(config, good + addition)
    assert live.refresh() is False and live.now is before
    config.write_text(good.replace('"tiny"', '"small"'))
    assert live.refresh() is True
    assert live.now.settings.engines[0].model == "small"


def test_a_pack_is_read_again_and_a_broken_one_refused(
    live: LiveCatalog, config: Path, tmp_path: Path
) -> None:
    pack = tmp_path / "pack" / "pack.toml"
    change(pack, 'name = "roses"\ntitle = "Old roses"\nsystem_prompt = "Be kind."\n')
    assert live.refresh() is True
    assert live.now.domains["roses"].pack.system_prompt == "Be kind."
    before = live.now
    pack.write_text("name = ")
    assert live.refresh() is False and live.now is before


def test_a_fitted_router_is_taken_up_and_a_broken_one_refused(
    live: LiveCatalog, artifacts: Path, tmp_path: Path
) -> None:
    assert live.now.router is None
    shutil.copytree(artifacts / "router", tmp_path / "state" / "artifacts" / "router")
    assert live.refresh() is True
    router = live.now.router
    assert router is not None and "espresso" in router.labels
    (tmp_path / "state" / "artifacts" / "router" / "current.json").write_text("{")
    assert live.refresh() is False and live.now.router is router


def test_a_router_is_read_again_only_when_it_changed(
    live: LiveCatalog, config: Path, artifacts: Path, tmp_path: Path
) -> None:
    shutil.copytree(artifacts / "router", tmp_path / "state" / "artifacts" / "router")
    assert live.refresh() is True
    cascade = live.now.cascade
    assert cascade is not None and cascade.second is not None
    change(config, config.read_text() + '[aliases]\n"gpt-4o" = "auto"\n')
    assert live.refresh() is True and live.now.cascade is cascade
    change(config, config.read_text() + "[router]\nthreshold = 0.9\n")
    assert live.refresh() is True
    changed = live.now.cascade
    assert changed is not None and changed.second is not None
    assert changed.first.threshold == changed.second.threshold == 0.9


def test_rules_are_taken_up_and_one_without_a_target_refused(
    live: LiveCatalog, config: Path
) -> None:
    rule = '[[router.rules]]\nname = "r"\ntarget = "roses"\nkeywords = ["thorn"]\n'
    change(config, config.read_text() + rule)
    assert live.refresh() is True
    assert [(rule.name, rule.target) for rule in live.now.rules] == [("r", "roses")]
    config.write_text(config.read_text().replace('target = "roses"', 'target = "tulips"'))
    assert live.refresh() is False
    assert [(rule.name, rule.target) for rule in live.now.rules] == [("r", "roses")]


def test_two_packs_of_one_name_and_a_missing_pack_stop_the_start(
    config: Path, tmp_path: Path
) -> None:
    text = config.read_text()
    again = f'[[packs]]\npath = "{tmp_path}/pack"\nengine = "local"\n'
    for addition in (again, f'[[packs]]\npath = "{ROOT}/nowhere"\nengine = "local"\n'):
        config.write_text(text + addition)
        settings = load(config)
        with pytest.raises(PackError):
            LiveCatalog(settings, Store(settings.store_url), None)


def test_an_engine_nobody_configured_is_named(config: Path) -> None:
    config.write_text(config.read_text().replace('engine = "local"', 'engine = "locl"'))
    with pytest.raises(ConfigurationError, match="did you mean 'local'"):
        load(config)
