"""Rollouts that move by themselves, in a real gateway process with its child: the challenger that
is worse goes, the better one stays, and `kill -9` changes nothing of it.

Users know the truth and say it with some noise; `turnout bench rollout` does the same with real
adapters.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.manifest import config_hash
from adapters.registry import Registry
from adapters.store import Store
from benchmarks.gateway.prepared import opened
from benchmarks.rollout.checks import Expected, Stored, check
from benchmarks.rollout.design import Terms
from benchmarks.rollout.play import Crowd, play
from benchmarks.rollout.users import RETURNING, Manner, Question
from benchmarks.swap.prepare import DOMAIN, LIMITS, write_config
from benchmarks.swap.servers import SERVED_NAME, Server, free_port, gateway_process
from benchmarks.swap.system import KEY, System
from tests.adapters.folders import facts, write_adapter
from tests.fakes.vllm import FakeVllm
from tests.serving import serving

TERMS = Terms(stages=(25.0, 50.0, 100.0), stage_units=15)
MANNER = Manner(judges=0.8, late_seconds=2.0, pause_seconds=4.0)
QUESTIONS = [
    Question([{"role": "user", "content": f"quiz {number}"}], "right") for number in range(300)
]


@dataclass(frozen=True)
class Stage:
    """A gateway process, behind it an engine that holds a champion and a challenger."""

    system: System
    store: Store
    registry: Registry
    champion: str
    challenger: str

    def rollout(self, end: str, *, serves: str, kill_after: int | None = None) -> dict[str, str]:
        """Play one to its end; returns the checks that failed, with what they found."""
        units = TERMS.most_units(TERMS.forecast(), MANNER)
        sessions = MANNER.sessions(QUESTIONS, units, seed=1)
        crowd = Crowd(QUESTIONS, sessions, MANNER, workers=100)
        models = self.champion, self.challenger
        experiment = TERMS.experiment("live", DOMAIN, models, units, salt="s1")
        seen = asyncio.run(play(self.system, experiment, crowd, kill_after=kill_after))
        asked = sum(len(session.questions) for session in sessions)
        stored = Stored.read(self.store, self.registry, "live")
        checks = check(stored, seen, Expected(end, serves, asked + RETURNING))
        return {one.name: one.told for one in checks if not one.ok}


@contextmanager
def staged(folder: Path, knows: tuple[float, float]) -> Iterator[Stage]:
    """Champion and challenger know these parts of the answers."""
    root, state, config = folder / "base", folder / "state", folder / "turnout.toml"
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"model_type": "tiny"}))
    engine = FakeVllm(SERVED_NAME, str(root))
    with serving(engine.app) as url, opened(state) as (store, registry):
        names = [
            registry.publish(DOMAIN, staged, facts("pass", config_hash(root))).version
            for staged in (write_adapter(folder / f"staged-{seed}", seed=seed) for seed in (1, 2))
        ]
        engine.knows = dict(zip(names, knows, strict=True))
        registry.promote(names[0], actor="test")
        registry.challenge(names[1], actor="test")
        write_config(config, [url])
        log, admin_port = folder / "gateway.log", free_port()
        gateway = gateway_process(config, state, log, key=KEY, admin_port=admin_port)
        replica = Server("the fake engine", url, "/health", [], {}, log)
        system = System(gateway, f"http://127.0.0.1:{admin_port}", [replica], config, LIMITS)
        try:
            gateway.start()
            gateway.wait_healthy(60)
            yield Stage(system, store, registry, *names)
        finally:
            gateway.stop()


def test_a_worse_challenger_is_rolled_back(tmp_path: Path, encoder_folder: Path) -> None:
    with staged(tmp_path, knows=(0.9, 0.1)) as stage:
        assert stage.rollout("rollback", serves=stage.champion) == {}


def test_a_better_challenger_is_promoted(tmp_path: Path, encoder_folder: Path) -> None:
    with staged(tmp_path, knows=(0.1, 0.9)) as stage:
        assert stage.rollout("promote", serves=stage.challenger) == {}


def test_a_kill_in_the_middle_changes_nothing(tmp_path: Path, encoder_folder: Path) -> None:
    with staged(tmp_path, knows=(0.9, 0.1)) as stage:
        assert stage.rollout("rollback", serves=stage.champion, kill_after=15) == {}
