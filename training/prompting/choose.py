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
    train: Sequence[Row], passages: Passages | None = None, *, room: int = ROOM
) -> list[Prompt]:
    """Prompts made of training rows and passages, the simplest first; `room` as in Prompt."""
    prompts = [Prompt("plain")]
    if lists := label_lists(train, room):
        prompts.append(Prompt("label list", Way.INSTRUCTIONS, instructions=lists))
    search = nearest(train)
    shots = [
        Prompt(f"{_FEW} fixed examples", Way.FEW_SHOT, examples=fixed(train, _FEW), room=room),
        Prompt(f"{_FEW} nearest examples", Way.FEW_SHOT, examples=search(_FEW), room=room),
        Prompt(f"{_SOME} nearest examples", Way.FEW_SHOT, examples=search(_SOME), room=room),
    ]
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
            for shot in shots[1:]
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
