"""Training a version again from what its manifest says, to see whether the same weights come out.

Nothing is registered. Bits depend on much beside data and settings; what differs is said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from adapters.files import file_digest
from adapters.lora import WEIGHTS
from adapters.manifest import Manifest, config_hash
from training.curation.formats import read_examples
from training.curation.split import Split
from training.environment import differences, environment
from training.errors import DataError, NotReplayable
from training.facts import learned_from, template_hash
from training.learning.learn import LEARNED, learn
from training.learning.sft import ADAPTER, SftSettings
from training.progress import Reporter
from training.rows import Kind


@dataclass(frozen=True, slots=True)
class Replay:
    """The digests of the weights, then and now, and what else is not as it was."""

    version: str
    expected: str
    found: str
    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        return self.expected == self.found

    def as_json(self) -> dict[str, Any]:
        """The document of `turnout train --replay --json`."""
        return asdict(self) | {"same": self.same}


def replay(
    manifest: Manifest, base_model: Path, runs: Path, folder: Path, reporter: Reporter
) -> Replay:
    """Train again into `folder`, from the dataset that a run under `runs` keeps, with as many
    threads as then.

    Raises:
        NotReplayable: the base model or the data is another one, or the manifest says too little.
    """
    settings = _settings(manifest)
    _check_base(manifest, base_model)
    parts = _parts(manifest, runs)
    torch.set_num_threads(int(manifest.environment.get("threads", torch.get_num_threads())))
    odd = differences(manifest.environment, environment())
    if settings.minutes is not None:
        odd.append("it was trained against the clock, so its steps depend on the machine's speed")
    folder.mkdir(parents=True)
    reporter.stage("train")
    learn(base_model, parts, settings, folder, reporter)
    found = file_digest(folder / ADAPTER / WEIGHTS)
    return Replay(manifest.version, manifest.files[WEIGHTS], found, tuple(odd))


def _settings(manifest: Manifest) -> SftSettings:
    if not manifest.settings or not manifest.learned_from:
        raise NotReplayable(
            f"{manifest.version} does not say how it was trained: it was imported, or is older "
            "than replays"
        )
    known = {field.name for field in fields(SftSettings)}
    if odd := sorted(manifest.settings.keys() - known):
        raise NotReplayable(
            f"{manifest.version} has the setting {odd[0]}, which this turnout "
            f"does not know; it was trained by turnout {manifest.code_version}"
        )
    return SftSettings(**manifest.settings)


def _check_base(manifest: Manifest, base_model: Path) -> None:
    for what, then, now in (
        ("configuration", manifest.base_config_hash, config_hash(base_model)),
        ("chat template", manifest.chat_template_hash, template_hash(base_model)),
    ):
        if then != now:
            raise NotReplayable(
                f"{manifest.version} was trained on {manifest.base_model}, whose {what} has the "
                f"digest {then}; that of {base_model.name} is {now}"
            )


def _parts(manifest: Manifest, runs: Path) -> Split:
    """The rows that were learned from, of whichever run's folder still has them."""
    for parts in _datasets(runs, LEARNED[manifest.method]):
        if learned_from(parts) == manifest.learned_from:
            return parts
    wanted = ", ".join(f"{part} rows {one}" for part, one in manifest.learned_from.items())
    raise NotReplayable(f"no dataset under {runs} has the digests of {manifest.version}: {wanted}")


def _datasets(runs: Path, kinds: Sequence[Kind]) -> Iterator[Split]:
    for card in sorted(runs.glob("*/dataset/card.json")):
        try:
            train, validation = (
                tuple(
                    row
                    for kind in kinds
                    if (file := card.parent / f"{kind}-{part}.jsonl").is_file()
                    for row in read_examples(file)
                )
                for part in ("train", "validation")
            )
        except DataError:  # damaged: whatever it was, it is no longer
            continue
        yield Split(train, validation, (), (), grouped_by="")
