"""Evaluations as text for people."""

from collections.abc import Iterator, Sequence

from training.evaluation.evaluate import Evaluation, TaskResult
from training.evaluation.examination import Report
from training.evaluation.intervals import FEW, Interval

_MOST_SLICES = 10  # of one kind; the others are in the JSON document


def table(mine: Evaluation, others: Sequence[Evaluation]) -> str:
    """A model's scores by task, and how it differs from others on the same rows."""
    lines = [f"{mine.model}: {mine.n} rows, {mine.errored} errored, score {mine.score:.3f}"]
    for name, task in mine.tasks.items():
        lines += _task(name, task)
        for other in others:
            found = mine.against(other, name)
            lines.append(
                f"    against {other.model}: {found.score:.3f}, difference "
                f"{found.difference:+.3f} {_signed(found.ci95)}"
            )
    return _safe("\n".join(lines))


def report(found: Report) -> str:
    """The table, and a paragraph for everything else that was looked at."""
    sections = {
        "speed": _speed(found),
        "slices": _slices(found),
        "perplexity": (
            f"{model:24} {one.perplexity:.2f}  ({one.per_token:.4f} nats a token)"
            for model, one in found.perplexity.items()
        ),
        "BERTScore": (
            f"{task:24} {score:.3f}  ({model})"
            for model, tasks in found.bertscore.items()
            for task, score in tasks.items()
        ),
        "robustness": _robustness(found),
        "bias": _bias(found),
        "judged": _judged(found),
        "differences beyond chance (Holm)": (
            f"{task:24} {one.difference.difference:+.3f} against {model}, p {one.p_holm:.2g}"
            for model, tasks in found.compared.items()
            for task, one in tasks.items()
            if one.p_holm < 0.05
        ),
    }
    paragraphs = [table(found.mine, found.others)]
    for title, lines in sections.items():
        body = "".join(f"\n  {line}" for line in lines)
        if body:
            paragraphs.append(title + body)
    return _safe("\n".join(paragraphs))


def _task(name: str, task: TaskResult) -> Iterator[str]:
    few = ", few" if len(task.values) < FEW else ""
    yield (
        f"  {name:24} {task.metric:12} {task.score:.3f} {_plain(task.ci95)}  "
        f"({len(task.values)} rows{few})"
    )
    seconds = dict(task.details) | {f"field {key}": value for key, value in task.fields.items()}
    if task.labels is not None:
        seconds["macro_f1"] = task.labels.macro_f1
        seconds["other_answers"] = task.labels.other_answers
    if seconds:
        yield "    " + ", ".join(f"{key} {value:.3f}" for key, value in seconds.items())


def _speed(found: Report) -> Iterator[str]:
    for model, meter in found.speed.items():
        known = meter.as_json()
        rate, wait = known["tokens_per_second"], known["answer_seconds"]["p50"]
        yield f"{model:24} {known['seconds']:.1f} s" + (
            (f", {rate:.0f} tokens/s" if rate is not None else "")
            + (f", half of the answers within {wait:.2f} s" if wait is not None else "")
        )


def _slices(found: Report) -> Iterator[str]:
    for task, divisions in found.slices.items():
        for name, parts in divisions.items():
            worst = sorted(parts.items(), key=lambda part: part[1].score)
            for value, one in worst[:_MOST_SLICES]:
                few = ", few" if one.few else ""
                where = f"{task} {name} {value[:40]}"
                yield f"{where:48} {one.score:.3f} {_plain(one.ci95)}  ({one.n} rows{few})"
            if len(worst) > _MOST_SLICES:
                yield f"{task} {name}: {len(worst) - _MOST_SLICES} more score higher"


def _robustness(found: Report) -> Iterator[str]:
    for one in found.robustness:
        if one.overall is None:
            yield f"{one.variant:24} no row has this variant"
            continue
        cost = one.overall
        followed = "" if one.followed is None else f", {one.followed:.1%} followed it"
        yield (
            f"{one.variant:24} {cost.score:.3f} → {cost.score + cost.difference:.3f}, "
            f"difference {cost.difference:+.3f} {_signed(cost.ci95)}  "
            f"({one.n} rows, {one.left_out} left out{followed})"
        )


def _bias(found: Report) -> Iterator[str]:
    for one in found.bias:
        pair = f"{one.probe}: {one.groups[0]} or {one.groups[1]}"
        if one.difference is None:
            yield f"{pair:24} no row names either"
            continue
        yield (
            f"{pair:24} {sum(one.changed) / len(one.changed):.1%} of answers changed, difference "
            f"{one.difference.difference:+.3f} {_signed(one.difference.ci95)}  "
            f"({one.n[0]} and {one.n[1]} rows)"
        )


def _judged(found: Report) -> Iterator[str]:
    for model, one in found.judged.items():
        known = one.as_json()
        if not known["n"]:
            yield f"against {model}: nothing could be compared"
            continue
        yield (
            f"against {model}: wins {known['win_rate']:.1%} {_plain(known['ci95'])} of "
            f"{known['n']} ({known['ties']} ties, {known['changed']:.1%} changed with the places, "
            f"{known['unreadable'] + known['failed'] + known['errored']} not compared)"
        )


def _plain(interval: Interval) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _signed(interval: Interval) -> str:
    return f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"


def _safe(text: str) -> str:
    """Without what names from a file could steer a terminal with."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
