"""Tokens to text, one at a time: never half a character, nor the beginning of a stop string."""

from collections.abc import Callable, Sequence

# A character takes at most four bytes, hence at most four byte-level tokens. Beyond that the bytes
# are not text, and waiting longer would only make each step slower.
_MOST_PENDING_TOKENS = 16
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """The text of one answer as it grows.

    `text` is all of it; `stable` is how many characters of it can no longer change or be cut by a
    stop string.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        stop: Sequence[str] = (),
        include_stop: bool = False,
    ) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._include_stop = include_stop
        self._window: list[int] = []  # the tokens before the pending ones give them context
        self._context = 0
        self.text = ""
        self.stable = 0

    def push(self, token: int) -> str | None:
        """Add a token; returns the stop string it completed, after which `text` ends before it."""
        self._window.append(token)
        return self._advance(final=False)

    def finish(self) -> str | None:
        """No more tokens: whatever was held back is final. Returns a stop string as `push` does."""
        stop = self._advance(final=True)
        self.stable = len(self.text)
        return stop

    def _advance(self, final: bool) -> str | None:
        before = self._decode(self._window[: self._context])
        after = self._decode(self._window)
        pending = len(self._window) - self._context
        if after.endswith(_REPLACEMENT) and not final and pending < _MOST_PENDING_TOKENS:
            return None
        added = after[len(before) :]
        self._window = self._window[self._context :] if added else self._window
        self._context = len(self._window) if added else self._context
        self.text += added
        return self._cut(len(added)) if added else None

    def _cut(self, added: int) -> str | None:
        """End the text at the first stop string, or hold back what may become one."""
        first: tuple[int, str] | None = None
        for stop in self._stop:
            at = self.text.find(stop, max(0, len(self.text) - added - len(stop) + 1))
            if at >= 0 and (first is None or at < first[0]):
                first = (at, stop)
        if first is not None:
            at, stop = first
            self.text = self.text[: at + len(stop) if self._include_stop else at]
            self.stable = len(self.text)
            return stop
        held = max((_overlap(self.text, stop) for stop in self._stop), default=0)
        self.stable = len(self.text) - held
        return None


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
