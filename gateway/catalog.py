"""What the request path knows: packs, versions, experiments, keys and routers, held in memory as
one frozen value.

`LiveCatalog` replaces the value when the store, a pack, the router or the configuration changes; a
change that does not hold together is logged and refused, and the running one stays.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from adapters.engines.residency import Desired
from adapters.errors import AdapterError, PackError, StoreUnavailable
from adapters.experiments.assignment import Split
from adapters.experiments.book import ExperimentBook
from adapters.experiments.design import ANY_TARGET
from adapters.packs import Pack
from adapters.registry import Aliases, Registry, Version
from adapters.store import Store
from gateway.access import KeyRing, KeyStore
from gateway.configuration import ConfigurationError, nearest
from gateway.routers import Routers, stamp_of
from gateway.settings import Engine, Price, Settings, Target
from gateway.tiers import TierChoice
from router.errors import RouterError
from router.router import Router
from router.rules import Rule, any_of
from router.second.stage import Cascade

logger = logging.getLogger(__name__)

_FREE = Price()


@dataclass(frozen=True, slots=True)
class Domain:
    """A pack and the engine that serves its adapters."""

    pack: Pack
    engine: Engine


@dataclass(frozen=True)
class Catalog:
    """Everything a request is decided by, as of one moment. `routers` are the current one and
    those of experiments, by version; one that could not be loaded is not among them. `cascade` is
    the current one; None before the first fit."""

    settings: Settings
    domains: Mapping[str, Domain]
    tiers: Mapping[str, Target]
    keys: KeyRing
    cascade: Cascade | None
    aliases: Mapping[str, Aliases] = field(default_factory=dict)
    versions: Mapping[str, Version] = field(default_factory=dict)
    experiments: Mapping[str, tuple[Split, ...]] = field(default_factory=dict)
    routers: Mapping[str, Cascade] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    tier_choice: TierChoice | None = None

    @property
    def router(self) -> Router | None:
        """The current router's first stage."""
        return self.cascade.first if self.cascade is not None else None

    @property
    def packs(self) -> Iterator[Pack]:
        return (domain.pack for domain in self.domains.values())

    @property
    def general(self) -> Target:
        """The general tier that unrouted queries go to: the first one configured."""
        return next(iter(self.tiers.values()))

    def engine(self, target: str) -> Engine:
        """The engine that a target's model runs on."""
        if target in self.tiers:
            return self.settings.engine(self.tiers[target].engine)
        return self.domains[target].engine

    def price(self, target: str) -> Price:
        """A target's price; a domain costs what the general tier on its engine costs."""
        if target in self.tiers:
            return self.tiers[target].price
        engine = self.domains[target].engine.name
        return next((t.price for t in self.tiers.values() if t.engine == engine), _FREE)

    @cached_property
    def dearest_price(self) -> Price:
        """What the most expensive general tier costs: the yardstick of savings."""
        return max((tier.price for tier in self.tiers.values()), key=lambda p: p.input + p.output)

    def champion(self, domain: str) -> str | None:
        return self.aliases.get(domain, Aliases()).champion

    def live_versions(self, domain: str) -> list[str]:
        """Versions that answer, or may from one second to the next: champion, arms of an
        experiment, challenger, the champion before this one."""
        pinned, standby = self._live(domain)
        return [*pinned, *standby]

    def is_servable(self, version: str) -> bool:
        """Whether a version may be asked for by its name: it is live, or the gate passed it."""
        found = self.versions.get(version)
        return (
            found is not None
            and not found.retired
            and found.manifest.domain in self.domains
            and (
                found.manifest.verdict == "pass"
                or version in self.live_versions(found.manifest.domain)
            )
        )

    def servable_versions(self, domain: str) -> list[str]:
        """Every version of a domain that may be asked for, live ones first."""
        passed = [
            name
            for name, version in self.versions.items()
            if version.manifest.domain == domain and self.is_servable(name)
        ]
        return list(dict.fromkeys((*self.live_versions(domain), *passed)))

    def desired(self, engine: str) -> Desired:
        """What an engine's replicas should serve; worked out once, as every replica is held to it
        every second."""
        if engine not in self._desired:
            self._desired[engine] = self._desire(engine)
        return self._desired[engine]

    @cached_property
    def _desired(self) -> dict[str, Desired]:
        return {}

    def _desire(self, engine: str) -> Desired:
        domains = [name for name, home in self.domains.items() if home.engine.name == engine]
        live = [self._live(name) for name in domains]
        return Desired(
            pinned=tuple(version for pinned, _ in live for version in pinned),
            standby=tuple(version for _, standby in live for version in standby),
            servable={
                version: self.versions[version]
                for domain in domains
                for version in self.servable_versions(domain)
            },
            retired=frozenset(
                name
                for name, version in self.versions.items()
                if version.retired and version.manifest.domain in domains
            ),
        )

    def _live(self, domain: str) -> tuple[list[str], list[str]]:
        """Live versions that take traffic, and those that stand by."""
        aliases = self.aliases.get(domain, Aliases())
        splits = self.experiments.get(domain, ())
        arms = [arm.model for split in splits for arm in split.experiment.arms]
        pinned = self._unretired(aliases.champion, *arms)
        standby = self._unretired(aliases.challenger, aliases.previous)
        return pinned, [version for version in standby if version not in pinned]

    def _unretired(self, *names: str | None) -> list[str]:
        known = (self.versions.get(name) for name in dict.fromkeys(names) if name)
        return [version.name for version in known if version and not version.retired]


class LiveCatalog:
    """The current catalog. `refresh` blocks and belongs in a thread; reading `now` never does."""

    def __init__(
        self, settings: Settings, store: Store, reload: Callable[[], Settings] | None
    ) -> None:
        self._store = store
        self._reload = reload
        self._registry = Registry(store, settings.versions)
        self._experiments = ExperimentBook(store, self._registry)
        self._keys = KeyStore(store)
        self._routers = Routers()
        self._seen = self._signature(settings)
        self.now = self._build(settings)

    def refresh(self) -> bool:
        """Take up what changed since the last look; returns whether anything did.

        Raises StoreUnavailable when the store does not answer.
        """
        signature = self._signature(self.now.settings)
        if signature == self._seen:
            return False
        try:
            settings = self._reload() if self._reload else self.now.settings
            self.now = self._build(settings)
        except StoreUnavailable:
            raise  # nothing is wrong with the change: it is taken up when the store is back
        except (ConfigurationError, AdapterError, RouterError) as exc:
            logger.error("a change was refused, the running configuration stays: %s", exc)
            self._seen = signature
            return False
        self._seen = signature
        return True

    def _build(self, settings: Settings) -> Catalog:
        domains: dict[str, Domain] = {}
        for entry in settings.packs:
            pack = Pack.load(entry.path)
            if pack.name in domains or any(pack.name == tier.name for tier in settings.targets):
                raise PackError(
                    f"{entry.path}: the name {pack.name!r} is taken; names of targets are unique"
                )
            domains[pack.name] = Domain(pack, settings.engine(entry.engine))
        tiers = {target.name: target for target in settings.targets}
        experiments, cascade = self._experiments.running(), self._routers.current(settings)
        return Catalog(
            settings=settings,
            domains=domains,
            tiers=tiers,
            keys=self._keys.ring(),
            cascade=cascade,
            aliases=self._registry.aliases(),
            versions={version.name: version for version in self._registry.versions()},
            experiments=experiments,
            routers=self._routers.with_experiments(
                settings, experiments.get(ANY_TARGET, ()), cascade
            ),
            rules=_rules(settings, (*tiers, *domains)),
            tier_choice=TierChoice.of(settings),
        )

    def _signature(self, settings: Settings) -> tuple[object, ...]:
        """Changes whenever something the catalog is built from may have changed."""
        files = [settings.artifact_root / part / "current.json" for part in ("router", "tiers")]
        files += [entry.path / "pack.toml" for entry in settings.packs]
        files += [settings.config_file] if settings.config_file else []
        return self._store.revision(), *(stamp_of(path) for path in files)


def _rules(settings: Settings, targets: Iterable[str]) -> tuple[Rule, ...]:
    """Raises ConfigurationError for a target that is neither a tier nor a domain."""
    known = tuple(targets)
    for rule in settings.router.rules:
        if rule.target not in known:
            raise ConfigurationError(
                f"router.rules: rule {rule.name!r} has no target {rule.target!r}; "
                f"{nearest(rule.target, known)}"
            )
    return tuple(
        Rule(
            name=rule.name,
            target=rule.target,
            keys=frozenset(rule.keys),
            metadata=tuple(rule.metadata.items()),
            keywords=any_of(rule.keywords),
            models=frozenset(rule.models),
        )
        for rule in settings.router.rules
    )
