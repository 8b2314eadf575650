"""From the parts of a dataset to trained weights in a folder."""

from pathlib import Path

from training.curation.split import Split
from training.errors import TooFewRows
from training.learning.encoding import encode_all
from training.learning.sft import SftSettings, load_tokenizer, train
from training.learning.watch import Trained
from training.progress import Reporter


def learn(
    base: Path, parts: Split, settings: SftSettings, folder: Path, reporter: Reporter
) -> Trained:
    """Train an adapter for `base` into `folder`/adapter.

    Raises:
        TooFewRows: no row fits the model.
        RunFailed: the loss became infinite or no number.
    """
    tokenizer = load_tokenizer(base)
    rows, too_long = encode_all(parts.train, tokenizer, settings.max_length)
    validation, _ = encode_all(parts.validation, tokenizer, settings.max_length)
    if not rows:
        raise TooFewRows(
            f"all {len(too_long)} training rows are too long for {settings.max_length} tokens"
        )
    return train(base, rows, validation, settings, folder, reporter)
