"""The settings under `[router]`: what goes before, beside and after the classifier."""

import os
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Group(BaseModel):
    """Settings that belong together: frozen, and a name nobody knows is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleSettings(Group):
    name: str = Field(
        min_length=1, max_length=64, description="What the dry run calls the rule that decided."
    )
    target: str = Field(description="A domain or a general tier.")
    keys: tuple[str, ...] = Field((), description="Ids or names of keys.")
    metadata: dict[str, str] = Field(
        default_factory=dict, description="What the request's `metadata` must hold, all of it."
    )
    keywords: tuple[str, ...] = Field(
        (),
        max_length=1000,
        description="Whole words or phrases, any of them, in any case, in what the router reads.",
    )
    models: tuple[str, ...] = Field(
        (), description="Names the caller may have sent: `auto` or one of its aliases."
    )

    @field_validator("keywords")
    @classmethod
    def _hold_something(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        if not all(keyword.strip() for keyword in keywords):
            raise ValueError("a keyword is empty")
        return keywords

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        if not (self.keys or self.metadata or self.keywords or self.models):
            raise ValueError(f"rule {self.name!r} needs keys, metadata, keywords or models")
        return self


class SecondSettings(Group):
    url: str = Field(
        description="Base URL of a Decisions API, e.g. https://api.openai.com/v1; queries that the "
        "first stage is unsure about go there in place of the router's own second stage."
    )
    model: str = Field(min_length=1, description="The model it is asked for.")
    key_env: str | None = Field(None, description="Environment variable that holds its key.")
    timeout_s: float = Field(
        1.0, gt=0, le=60, description="Seconds until the first stage's decision stands."
    )

    @property
    def bearer(self) -> str | None:
        """The key to send."""
        return os.environ.get(self.key_env) if self.key_env is not None else None

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL")
        return url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _is_set(cls, key_env: str | None) -> str | None:
        if key_env is not None and not os.environ.get(key_env):
            raise ValueError(f"the environment has no {key_env}")
        return key_env


class TierSettings(Group):
    weak: str = Field(description="The first of [[targets]]: the tier that general queries go to.")
    strong: str = Field(description="The tier they go to where it is expected to do better.")
    threshold: float | None = Field(
        None,
        ge=-2,
        le=2,
        description="From this expected gain in score on; `turnout router tiers eval` lists them.",
    )
    strong_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="In place of a threshold: that of so large a share of the lines of the fit.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.weak == self.strong:
            raise ValueError(f"weak and strong are both {self.weak!r}")
        if (self.threshold is None) == (self.strong_share is None):
            raise ValueError("give one of threshold and strong_share")
        return self


class RouterSettings(Group):
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Below this probability the general model answers; default: the fitted one.",
    )
    examples: tuple[Path, ...] = Field(
        (),
        description="JSONL files of {text, label} beside the packs' own, with the `general` lines.",
    )
    rules: tuple[RuleSettings, ...] = Field(
        (), description="For requests to `auto`, before the classifier; the first that fits counts."
    )
    cost_weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability that may be given up to go from the dearest target to a free one.",
    )
    latency_weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability that may be given up to go from the slowest engine to one that "
        "takes no time, by the seconds per token measured here.",
    )
    exploration: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of conversations that go to a target drawn at random, so that the log "
        "tells how the others would have done.",
    )
    second: SecondSettings | None = None
    tiers: TierSettings | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError(f"two rules share a name: {names}")
        return self
