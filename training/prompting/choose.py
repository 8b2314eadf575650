"""The prompts worth trying for a domain, and which of them suits a model best.

Chosen by validation rows: the rows that a result is reported on must not have chosen anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from training.evaluation.evaluate import Answers, Evaluation, evaluate
from training.evaluation.sampling import sample
from training.prompting.examples import fixed, label_lists, nearest
from training.prompting.passages import Passages
from training.prompting.prompt import Prompt, Way
from training.rows import Row

ROOM = 500  # tokens of examples, and of passages
_FEW, _SOME = 4, 8

Progress = Callable[[int, int], None]


def candidates(
    train: Sequence[Row],
    passages: Passages | None = None,
    *,
    room: int = ROOM,
    per_question: bool = True,
) -> list[Prompt]:
    """Prompts made of training rows and passages, the simplest first; `room` as in Prompt.

    `per_question`: also examples that are chosen for each question. A domain's system prompt and
    index, which are all that a gateway can serve with, cannot hold these.
    """
    prompts = [Prompt("plain")]
    if lists := label_lists(train, room):
        prompts.append(Prompt("label list", Way.INSTRUCTIONS, instructions=lists))
    chosen = {f"{_FEW} fixed examples": fixed(train, _FEW)}
    if per_question:
        search = nearest(train)
        chosen |= {f"{count} nearest examples": search(count) for count in (_FEW, _SOME)}
    shots = [Prompt(name, Way.FEW_SHOT, examples=some, room=room) for name, some in chosen.items()]
    prompts += shots
    if passages is not None:
        prompts.append(Prompt("passages", Way.RETRIEVAL, passages=passages, room=room))
        prompts += [
            replace(
                shot,
                name=f"{shot.name} and passages",
                way=Way.FEW_SHOT_RETRIEVAL,
                passages=passages,
            )
            for shot in shots[1:] or shots
        ]
    return prompts


def best_prompt(
    answers: Answers,
    prompts: Sequence[Prompt],
    validation: Sequence[Row],
    progress: Progress = lambda done, total: None,
    *,
    rows: int = 20,
    seed: int = 0,
) -> Prompt:
    """The prompt with the best mean of task scores, of equals the first; without validation rows
    the first. At most `rows` of each task are asked, drawn by `seed`."""
    if not validation or len(prompts) == 1:
        return prompts[0]
    tried = try_all(answers, prompts, sample(validation, rows, seed), progress)
    return max(zip(prompts, tried, strict=True), key=lambda pair: pair[1].score)[0]


def try_all(
    answers: Answers,
    prompts: Sequence[Prompt],
    rows: Sequence[Row],
    progress: Progress = lambda done, total: None,
) -> list[Evaluation]:
    """Each prompt's evaluation on the same rows, in order."""
    found: list[Evaluation] = []

    def advance(done: int, total: int) -> None:
        progress(len(found) * total + done, len(prompts) * total)

    for prompt in prompts:
        found.append(evaluate(prompt.name, rows, answers, advance, prompt.apply))
    return found
