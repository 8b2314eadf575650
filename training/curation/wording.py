"""How examples are worded: their length, their language, and answers that insult."""

from collections.abc import Callable, Collection, Iterable
from functools import cache

from training.curation.removal import Reason, Removed
from training.rows import Row

# Below so many letters, and below such a probability, nobody can tell a language.
FEWEST_LETTERS = 60
SUREST = 0.9
# At 0.8 the model finds one of 1,200 rows of six domains, and that one is an insult; at 0.5 also
# "not starting" and "smoke".
TOXIC = 0.8

Check = Callable[[Row], str | None]


def dropped(rows: Iterable[Row], reason: Reason, check: Check) -> tuple[list[Row], list[Removed]]:
    """Rows for which `check` has no objection, and the others with what it says."""
    kept, removed = [], []
    for row in rows:
        objection = check(row)
        if objection is None:
            kept.append(row)
        else:
            removed.append(Removed(row.origin, reason, objection))
    return kept, removed


def too_long(limit: int) -> Check:
    """Objects to more than `limit` characters."""
    return lambda row: f"{row.size} characters, at most {limit}" if row.size > limit else None


def foreign(languages: Collection[str]) -> Check:
    """Objects to rows surely in none of these languages (ISO 639-1); an empty list allows all."""
    # Half a second and 70 MB that only those who restrict languages need.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identify = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).classify

    def check(row: Row) -> str | None:
        text = f"{row.question}\n{row.answer}"
        if sum(map(str.isalpha, text)) < FEWEST_LETTERS:
            return None
        language, probability = identify(text)
        if language in languages or probability < SUREST:
            return None
        return f"{language}, allowed: {', '.join(sorted(languages))}"

    return check


def toxic() -> Check:
    """Objects to insults in what a row teaches to say; rejected and disliked answers may stay."""
    # A second, and a model of 30 MB.
    from profanity_check import predict_prob

    @cache
    def score(answer: str) -> float:
        return float(predict_prob([answer])[0])

    def check(row: Row) -> str | None:
        if row.desirable is False or row.is_trusted:
            return None
        found = score(row.answer)
        return f"score {found:.2f}" if found > TOXIC else None

    return check
