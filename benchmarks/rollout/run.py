"""One scenario from the beginning to the end: engines and gateway, users, checks."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from adapters.experiments.forecast import Forecast
from benchmarks.gateway.prepared import opened
from benchmarks.rollout import prepare
from benchmarks.rollout.checks import Check, Expected, Stored, check
from benchmarks.rollout.design import Terms
from benchmarks.rollout.play import Crowd, Say, play
from benchmarks.rollout.prepare import DOMAIN
from benchmarks.rollout.users import RETURNING, Manner
from benchmarks.swap.prepare import LIMITS, write_config
from benchmarks.swap.servers import (
    Server,
    embedded_engine,
    free_port,
    gateway_process,
    vllm_replica,
)
from benchmarks.swap.system import KEY, System, started

NAME = "rollout"
# A label has at most ten tokens; without an end, a damaged adapter would talk on.
_BODY = {"max_tokens": 12, "temperature": 0}


class Scenario(StrEnum):
    """What the challenger is, and in `killed` that the gateway dies on the way."""

    WORSE = "worse"
    BETTER = "better"
    KILLED = "killed"
    AA = "aa"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and where. `folder` keeps the trained adapter, logs and the run's own state.

    Without an `adapter` (a version's folder) one is trained for `minutes`. `damage` is the part of
    each lora_B that is shuffled in the worse one.
    """

    folder: Path
    data: Path
    model: Path
    python: Path
    engine: str
    replicas: int
    scenario: Scenario
    seed: int
    workers: int
    damage: float
    minutes: float
    adapter: Path | None
    terms: Terms = Terms()
    manner: Manner = Manner()

    @property
    def amounts(self) -> tuple[float, float]:
        """The damage of champion and challenger."""
        match self.scenario:
            case Scenario.AA:
                return 0.0, 0.0
            case Scenario.BETTER:
                return self.damage, 0.0
            case Scenario.WORSE | Scenario.KILLED:
                return 0.0, self.damage


@dataclass(frozen=True, slots=True)
class Findings:
    """What was promised, what the store says of it, and whether that fits."""

    plan: Plan
    forecast: Forecast
    units: int
    expected: Expected
    stored: Stored
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        plan, last = self.plan, self.stored.moves[-1]
        return {
            "scenario": plan.scenario,
            "engine": plan.engine,
            "seed": plan.seed,
            "damage": plan.damage,
            "bound": {"units": self.units, "answers": self.expected.answers},
            "used": {"units": len(self.stored.arms), "answers": len(self.stored.assigned)},
            "forecast": asdict(self.forecast),
            "end": {name: last[name] for name in ("kind", "actor", "reason", "evidence")},
            "stages": [asdict(s) | {"most": s.most} for s in self.stored.stages],
            "checks": [asdict(check) for check in self.checks],
            "ok": self.ok,
        }


def run(plan: Plan, say: Say, step: Callable[[int, int], None]) -> Findings:
    """Run the scenario; `step` gets how many sessions are through, and of how many at most.

    Raises NotPrepared, NotStarted or NotSeen when that is not possible.
    """
    pack = prepare.write_pack(plan.folder / "pack", plan.data)
    version = (
        prepare.checked(plan.adapter)
        if plan.adapter
        else prepare.trained(plan.folder / "prepared", pack, plan.minutes, say)
    )
    forecast = plan.terms.forecast()
    units = plan.terms.most_units(forecast, plan.manner)
    asked = prepare.questions(plan.data)
    sessions = plan.manner.sessions(asked, units, plan.seed)
    answers = sum(len(session.questions) for session in sessions)
    say(f"at most {units} sessions with {answers} questions, by the forecast")
    state = plan.folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    with opened(state) as (store, registry):
        models = prepare.publish(registry, version, amounts=plan.amounts, seed=plan.seed)
        experiment = plan.terms.experiment(NAME, DOMAIN, models, units, salt=f"s{plan.seed}")
        system = _system(plan, pack, state)
        crowd = Crowd(asked, sessions, plan.manner, plan.workers, _BODY)
        kill_after = plan.terms.stage_units if plan.scenario is Scenario.KILLED else None
        say(f"starting {plan.replicas} {plan.engine} and a gateway; logs: {plan.folder}")
        with started(system):
            seen = asyncio.run(
                play(
                    *(system, experiment, crowd),
                    kill_after=kill_after,
                    say=say,
                    follow=lambda seen: step(seen.sessions, units),
                )
            )
        stored = Stored.read(store, registry, NAME)
    expected = _expected(plan.scenario, models, answers)
    return Findings(plan, forecast, units, expected, stored, check(stored, seen, expected))


def _system(plan: Plan, pack: Path, state: Path) -> System:
    config, admin_port = plan.folder / "turnout.toml", free_port()
    logs = [plan.folder / f"{plan.engine}-{number}.log" for number in range(plan.replicas)]
    engines = [_engine(plan, log) for log in logs]
    urls = [engine.url for engine in engines]
    write_config(config, urls, kind=plan.engine, pack=pack)
    log = plan.folder / "gateway.log"
    gateway = gateway_process(config, state, log, key=KEY, admin_port=admin_port)
    return System(gateway, f"http://127.0.0.1:{admin_port}", engines, config, LIMITS)


def _engine(plan: Plan, log: Path) -> Server:
    if plan.engine == "embedded":
        return embedded_engine(plan.model, log)
    limits = {name.upper(): str(value) for name, value in LIMITS.items()}
    return vllm_replica(plan.model, log, python=plan.python, **limits)


def _expected(scenario: Scenario, models: tuple[str, str], answers: int) -> Expected:
    champion, challenger = models
    match scenario:
        case Scenario.WORSE:
            return Expected("rollback", champion, answers)
        case Scenario.KILLED:
            return Expected("rollback", champion, answers + RETURNING)
        case Scenario.BETTER:
            return Expected("promote", challenger, answers)
        case Scenario.AA:
            return Expected("stop", champion, answers)
