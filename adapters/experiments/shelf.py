"""What an experiment's arms may name, and what is said of arms that name something else. The tops
know which tiers, routers and indexes there are, and tell the book."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.experiments.design import ANY_TARGET, BASE_ARM, Arm, Experiment

if TYPE_CHECKING:  # it brings the store, which the command's workspace need not wait for
    from adapters.registry import Version

_MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class Shelf:
    """What there is beside adapter versions: domains with the checks of their packs, general tiers,
    versions of the router, and each domain's versions of its index; the oldest first. Without
    domains, none is refused."""

    checks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tiers: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    indexes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def problems(
        self, experiment: Experiment, versions: Sequence["Version"], *, ungated: bool = False
    ) -> list[str]:
        """Why an experiment cannot be served; `versions` are its domain's, of which only those
        that passed their gate may be, unless `ungated`."""
        places = (*self.checks, *self.tiers, ANY_TARGET)
        if self.checks and experiment.domain not in places:
            return [f"domain: {experiment.domain!r} is none; {_listed(places)}"]
        known = (
            self.checks.get(experiment.domain, frozenset()) if self.checks else experiment.checks
        )
        unknown = [
            f"check:{name}: the pack of {experiment.domain} has none; {_listed(sorted(known))}"
            for name in sorted(experiment.checks - known)
        ]
        return unknown + [
            f"arms.{position}.{problem}"
            for position, arm in enumerate(experiment.arms)
            for problem in self._of_arm(experiment.domain, arm, versions, ungated)
        ]

    def _of_arm(
        self, domain: str, arm: Arm, versions: Sequence["Version"], ungated: bool
    ) -> Iterator[str]:
        if domain == ANY_TARGET:
            yield from self._of_router(arm)
        elif domain in self.tiers:
            if arm.model not in self.tiers:
                yield f"model: {arm.model!r} is no general tier; {_listed(self.tiers)}"
        else:
            yield from self._of_version(domain, arm, versions, ungated)
        known = self.indexes.get(domain, ())
        if arm.index is not None and arm.index not in known:
            yield f"index: {arm.index!r} is no index version of {domain}; {_listed(known)}"

    def _of_router(self, arm: Arm) -> Iterator[str]:
        if arm.router not in self.routers:
            yield f"router: {arm.router!r} is no fitted router; {_listed(self.routers)}"
        if arm.prompt is not None:
            yield "prompt: a router answers nothing; a prompt is for a domain's or a tier's arm"
        if arm.shadow is not None:
            yield "shadow: a router answers nothing; compare it with `turnout router eval`"

    def _of_version(
        self, domain: str, arm: Arm, versions: Sequence["Version"], ungated: bool
    ) -> Iterator[str]:
        version = next((one for one in versions if one.name == arm.model), None)
        if version is not None and version.retired:
            yield f"model: {arm.model} is retired"
        elif version is not None and version.manifest.verdict != "pass" and not ungated:
            verdict = version.manifest.verdict
            yield f"model: {arm.model} has the verdict {verdict!r}, only 'pass' may serve (force)"
        elif version is None and arm.model != BASE_ARM:
            servable = [one.name for one in versions if not one.retired]
            yield (
                f"model: {arm.model!r} is neither `base` nor a version of {domain}; "
                f"{_listed(servable)}"
            )


def _listed(names: Sequence[str]) -> str:
    """The newest of the names there are."""
    if not names:
        return "there are none"
    before = f"{len(names) - _MOST_LISTED} older ones, " if len(names) > _MOST_LISTED else ""
    return f"there are {before}{', '.join(names[-_MOST_LISTED:])}"
