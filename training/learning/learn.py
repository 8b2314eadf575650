"""From the parts of a dataset to trained weights in a folder."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.curation.split import FEWEST_ROWS, Split
from training.errors import TooFewRows
from training.learning.encoding import encode_all
from training.learning.preference import Pair, encode_preferences, encode_verdicts
from training.learning.sft import ADAPTER, SftSettings, load_tokenizer, train
from training.learning.watch import Trained
from training.progress import Reporter
from training.rows import Kind, Row

# The kinds of rows that a method learns from, in this order.
LEARNED = {
    "sft": (Kind.SFT,),
    "dpo": (Kind.SFT, Kind.PREFERENCE),
    "kto": (Kind.SFT, Kind.KTO),
}
ANSWERS = "answers"  # in a run's folder: what was learned before the preferences

_Encode = Callable[[Sequence[Row], Any, int], list[Pair]]
_ENCODE: dict[str, _Encode] = {"dpo": encode_preferences, "kto": encode_verdicts}
_WHENCE = {
    Kind.PREFERENCE: "corrections in the log (--from-log) or --data with chosen and rejected",
    Kind.KTO: "thumbs in the log (--from-log) or --data with completion and label",
}


def learn(
    base: Path,
    parts: Split,
    settings: SftSettings,
    folder: Path,
    reporter: Reporter,
    *,
    resume: bool = False,
) -> Trained:
    """Train an adapter for `base` into `folder`/adapter.

    Preferences are learned by an adapter that has learned the answers first, in half of the time,
    if there are enough of them. `resume` goes on from the folder's newest checkpoint.

    Raises:
        TooFewRows: too few rows of the kind that is needed, or none that fits the model.
        RunFailed: the loss became infinite or no number.
    """
    answers = parts.of(Kind.SFT)
    if settings.method == "sft":
        return _learn_answers(base, answers, settings, folder, reporter, resume=resume)
    _, kind = LEARNED[settings.method]
    judged, whence = parts.of(kind), _WHENCE[kind]
    if len(judged.train) < FEWEST_ROWS:
        raise TooFewRows(
            f"{len(judged.train)} {kind} rows are left to learn from, {settings.method} needs at "
            f"least {FEWEST_ROWS}; they come from {whence}"
        )
    before, start = None, None
    if len(answers.train) >= FEWEST_ROWS:
        half = None if settings.minutes is None else settings.minutes / 2
        settings = replace(settings, minutes=half)
        first = replace(settings, method="sft")
        (folder / ANSWERS).mkdir(exist_ok=True)
        before = _learn_answers(base, answers, first, folder / ANSWERS, reporter, resume=resume)
        start = folder / ANSWERS / ADAPTER
        reporter.stage("learn from preferences")
    tokenizer, encode = load_tokenizer(base), _ENCODE[settings.method]
    rows, validation = (
        encode(part, tokenizer, settings.max_length) for part in (judged.train, judged.validation)
    )
    _check_fit(len(rows), len(judged.train), settings)
    trained = train(base, rows, validation, settings, folder, reporter, start=start, resume=resume)
    return replace(trained, before=before)


def _learn_answers(
    base: Path,
    parts: Split,
    settings: SftSettings,
    folder: Path,
    reporter: Reporter,
    *,
    resume: bool,
) -> Trained:
    tokenizer = load_tokenizer(base)
    rows, _ = encode_all(parts.train, tokenizer, settings.max_length)
    validation, _ = encode_all(parts.validation, tokenizer, settings.max_length)
    _check_fit(len(rows), len(parts.train), settings)
    return train(base, rows, validation, settings, folder, reporter, resume=resume)


def _check_fit(left: int, rows: int, settings: SftSettings) -> None:
    if not left:
        raise TooFewRows(
            f"all {rows} training rows are too long for {settings.max_length} tokens"
            if rows
            else "no training row is an answer to learn from"
        )
