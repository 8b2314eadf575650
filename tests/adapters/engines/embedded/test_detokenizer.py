"""Text as it grows, over a toy tokenizer whose tokens are bytes."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from adapters.engines.embedded.detokenizer import Detokenizer


def decode(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode("utf-8", errors="replace")


def stream(data: bytes, *stop: str, include_stop: bool = False) -> tuple[list[str], str | None]:
    """What a reader gets piece by piece, and the stop string that ended it."""
    detokenizer = Detokenizer(decode, stop, include_stop)
    pieces: list[str] = []
    read = 0
    hit = None
    for token in data:
        hit = detokenizer.push(token)
        pieces.append(detokenizer.text[read : detokenizer.stable])
        read = max(read, detokenizer.stable)
        if hit:
            return pieces, hit
    hit = detokenizer.finish()
    pieces.append(detokenizer.text[read:])
    return pieces, hit


def test_half_a_character_is_held_back() -> None:
    pieces, _ = stream("a€b😀".encode())
    assert pieces == ["a", "", "", "€", "b", "", "", "", "😀", ""]


def test_beginning_of_a_stop_string_is_held_back() -> None:
    pieces, hit = stream(b"one STO two STOP three", "STOP")
    assert hit == "STOP"
    assert "".join(pieces) == "one STO two "
    assert pieces[4:7] == ["", "", ""]
    assert pieces[7] == "STO "


def test_earliest_stop_string_wins_and_may_be_kept() -> None:
    assert "".join(stream(b"abcdef", "ef", "cd")[0]) == "ab"
    assert "".join(stream(b"abcdef", "cd", include_stop=True)[0]) == "abcd"


def test_end_releases_what_was_held() -> None:
    pieces, hit = stream(b"wait ST", "STOP")
    assert ("".join(pieces), hit) == ("wait ST", None)


def test_bytes_that_are_no_text_do_not_pile_up() -> None:
    detokenizer = Detokenizer(decode)
    for _ in range(64):
        detokenizer.push(0x80)
    assert detokenizer.stable >= 48


@given(st.text(), st.lists(st.text(min_size=1, max_size=3), max_size=3))
def test_pieces_are_the_text_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    pieces, hit = stream(text.encode(), *stops)
    joined = "".join(pieces)
    assert text.startswith(joined)
    if hit is None:
        assert joined == text and not any(stop in text for stop in stops)
    else:
        assert not any(stop in joined for stop in stops)
        assert text[len(joined) :].startswith(hit)
