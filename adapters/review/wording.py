"""Names and texts that a queue takes from people."""

import re

from adapters.errors import InvalidReview

_NAME = re.compile(r"[^\W_][\w.@ -]{0,63}")


def checked_name(name: str, what: str = "annotator") -> str:
    """A name of an annotator or a batch; raises InvalidReview."""
    if not _NAME.fullmatch(name):
        raise InvalidReview(
            f"{name!r:.80} cannot be the name of the {what}: "
            "1 to 64 letters, digits, dots, @, - or spaces"
        )
    return name


def check_text(text: str, most: int, what: str) -> None:
    """Raises InvalidReview for a text that is too long, or that a database would not take."""
    if len(text) > most:
        raise InvalidReview(f"{what}: {len(text)} characters, at most {most}")
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidReview(f"{what}: not text (a NUL, or half a character)")
