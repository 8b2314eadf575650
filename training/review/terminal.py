"""Reviewing in a terminal: shows one item after the other and asks for a verdict.

What items hold was written by others: it is shown as text, never as markup or control codes.
"""

from collections.abc import Callable
from dataclasses import replace

import click
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from adapters.errors import InvalidReview
from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Decision, Item, ItemState, Verdict, said_by, shown_to

_LABELLING = {"a": Verdict.ACCEPT, "c": Verdict.CORRECT, "r": Verdict.REJECT, "s": Verdict.SKIP}
_COMPARING = {"1": Verdict.FIRST, "2": Verdict.SECOND, "t": Verdict.TIE, "s": Verdict.SKIP}
_NUMBERED = 50  # labels that are offered by number; of more, the right one is typed
_LONGEST = 4_000  # characters of one text on the screen


class Session:
    """One annotator at a terminal. `settle`: what is said ends disputes, and what others said is
    shown."""

    def __init__(
        self,
        book: ReviewBook,
        wanted: Wanted,
        annotator: str,
        console: Console,
        ask: Callable[[str], str],
        *,
        settle: bool = False,
    ) -> None:
        self._book, self._wanted, self._annotator = book, wanted, annotator
        self._console, self._ask, self._settle = console, ask, settle
        self._done: list[str] = []
        self._passed: str | None = None  # the last dispute that was looked at

    def run(self) -> int:
        """Until nothing is left, or `q`; how many items were judged."""
        again: Item | None = None
        while item := again or self._next():
            again = None
            self._show(item)
            key = self._ask(_question(item, bool(self._done))).strip()
            if key == "q":
                return len(self._done)
            if key == "u":
                again = self._undo() or item
            elif not self._judge(item, key):
                again = item
        self._console.print("Nothing is left to review here.")
        return len(self._done)

    def _next(self) -> Item | None:
        if not self._settle:
            return self._book.next(self._wanted, self._annotator)
        disputes = replace(self._wanted, states=(ItemState.DISPUTED,))
        return next(iter(self._book.items(disputes, after=self._passed, limit=1)), None)

    def _judge(self, item: Item, key: str) -> bool:
        """Take a verdict down; False if it was none."""
        try:
            decision = Decision(item.id, *self._read(item, key))
            self._passed = item.id
            if self._settle and decision.verdict is Verdict.SKIP:
                return True
            self._book.decide([decision], self._annotator, final=self._settle)
        except InvalidReview as exc:
            self._console.print(Text(f"Not taken down: {exc}", style="red"))
            return False
        self._done.append(item.id)
        return True

    def _read(self, item: Item, key: str) -> tuple[Verdict, str | None]:
        labels = item.example.labels
        if item.example.rival is not None:
            verdict = _COMPARING.get(key)
        elif key.isascii() and key.isdigit() and 0 < int(key) <= min(len(labels), _NUMBERED):
            return Verdict.CORRECT, labels[int(key) - 1]
        else:
            verdict = _LABELLING.get(key)
        if verdict is None:
            raise InvalidReview(f"{key!r:.20} is none of the answers")
        if verdict is not Verdict.CORRECT:
            return verdict, None
        typed = self._ask("The right answer (nothing: open an editor)").strip()
        return verdict, typed or (click.edit(item.example.answer) or "").strip()

    def _undo(self) -> Item | None:
        """Take the last verdict back, and show its item again."""
        if not self._done:
            return None
        return self._book.withdraw(self._done.pop(), self._annotator, final=self._settle)

    def _show(self, item: Item) -> None:
        shown = shown_to(item, self._annotator)
        self._console.rule(Text(f"{item.domain} · {item.kind} · {shown.task} · {item.id}"))
        for role, text in shown.prompt:
            self._panel(role, text)
        for number, passage in enumerate(shown.passages, 1):
            self._panel(f"passage {number}", passage)
        if shown.rival is None:
            self._panel("proposed answer", shown.answer, "bold")
        else:
            self._panel("answer 1", shown.answer, "bold")
            self._panel("answer 2", shown.rival, "bold")
        for number, label in enumerate(shown.labels[:_NUMBERED], 1):
            self._console.print(Text(f"  {number:2}  {_printable(label)}"))
        if self._settle:
            for one in item.annotations:
                words = " ".join(filter(None, (one.verdict, one.answer, one.comment)))
                self._console.print(Text(f"  {one.annotator}: {_printable(words)}"))
        elif before := said_by(item, self._annotator):
            self._console.print(Text(f"  You said: {before}"))

    def _panel(self, title: str, text: str, style: str = "") -> None:
        more = f"\n… {len(text) - _LONGEST} more characters" if len(text) > _LONGEST else ""
        body = Text(_printable(text[:_LONGEST]) + more, style=style)
        self._console.print(Panel(body, title=Text(title), title_align="left"))


def _question(item: Item, can_undo: bool) -> str:
    if item.example.rival is not None:
        words = "better: [1] [2] [t]ie"
    else:
        words = "[a]ccept [c]orrect [r]eject"
        words += " or a label's number" if item.example.labels else ""
    return f"{words} [s]kip {'[u]ndo ' if can_undo else ''}[q]uit"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else "·" for letter in text)
