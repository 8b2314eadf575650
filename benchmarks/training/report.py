"""The figures of `turnout bench training` as Markdown tables."""

from collections.abc import Iterable, Sequence
from statistics import mean

from benchmarks.training.comparison import Comparison, Side
from benchmarks.training.forgetting import Shared
from benchmarks.training.throughput import OURS, Throughput
from training.evaluation.intervals import Interval

_CHOSEN = ("best served prompt", "best prompt")


def domains(found: Comparison) -> str:
    """Scores by task and side, gains over the best prompt, and the linear classifier's."""
    rows = []
    for one in found.domains:
        for task in one.sides[Side.BASE].tasks:
            over = one.sides[Side.ADAPTER].against(one.sides[Side.BEST_PROMPT], task)
            scores = [_score(one.sides[side].tasks[task].score) for side in Side]
            rows.append([one.domain, task, *scores, _gain(over.difference, over.ci95)])
    means = [_score(found.mean(side)) for side in Side]
    gain = _gain(*found.gain(Side.ADAPTER, Side.BEST_PROMPT))
    rows.append(["**mean of domains**", "", *means, gain])
    told = table(["domain", "task", *map(str, Side), "adapter − best prompt"], rows)
    notes = [
        [
            one.domain,
            one.version,
            one.verdict,
            *one.prompts.values(),
            f"{sum(one.seconds.values()):.0f}",
        ]
        for one in found.domains
    ]
    chosen = table(["domain", "version", "gate", *_CHOSEN, "s"], notes)
    served = _gain(*found.gain(Side.ADAPTER, Side.SERVED_PROMPT))
    linear = [
        [
            one.domain,
            rival.choice.name,
            _score(mean(rival.ours)),
            _score(mean(rival.linear)),
            _gain(mean(rival.ours) - mean(rival.linear), rival.ci95),
        ]
        for one in found.domains
        for rival in one.rivals
    ]
    beside = table(["domain", "label", "adapter", "TF-IDF, linear SVM", "difference"], linear)
    left_out = f"\n\nNo adapter yet: {', '.join(found.missing)}." if found.missing else ""
    ahead = f"Adapter − best served prompt, mean of domains: {served}."
    return f"{told}\n\n{ahead}\n\n{chosen}\n\n{beside}{left_out}"


def share(found: Sequence[Shared]) -> str:
    """Scores of LoRA and full fine-tuning, and what each lost."""
    rows, lost = [], []
    for one in found:
        name = f"{one.task} ({one.share:.2%})"
        rows.append([name, "base", "", _score(one.base.score), "", ""])
        for student in one.students:
            known = one.ratio(mixed=student.mixed)
            near = "" if known is None else f"{known[0]:.3f} {_ends(known[1])}"
            score = _score(student.task.score)
            rows.append(
                [name, student.name, f"{student.rate:g}", score, near, f"{student.seconds:.0f}"]
            )
            for capability, task in student.kept.scores.tasks.items():
                fall = student.kept.scores.against(one.before.scores, capability)
                before = one.before.losses[capability].per_token
                loss = student.kept.losses[capability].per_token
                lost.append(
                    [
                        one.task,
                        student.name,
                        capability,
                        _score(fall.score),
                        _score(task.score),
                        _gain(fall.difference, fall.ci95),
                        f"{before:.3f}",
                        f"{loss:.3f}",
                    ]
                )
    scores = table(
        ["task (weights LoRA trains)", "model", "rate", "score", "LoRA / full", "s"], rows
    )
    head = ["trained on", "model", "capability", "before", "after", "change"]
    return f"{scores}\n\n{table([*head, 'loss before', 'after'], lost)}"


def throughput(found: Iterable[Throughput]) -> str:
    """Speeds of every contender, and how many times as quick ours is."""
    rows = []
    for one in found:
        for name in one.rounds:
            figures = one.as_json()["contenders"][name]
            quicker, gap = "", ""
            if name != OURS:
                ratios = one.ratios(name)
                speeds = one.mean(OURS, "rows_per_second") / one.mean(name, "rows_per_second")
                quicker = f"{speeds:.1f} × ({min(ratios):.1f} to {max(ratios):.1f} by cpu-s)"
                gap = "{:+.3f} ± {:.3f}".format(*one.loss_gap(name))
            rows.append(
                [
                    f"{one.workload}, {one.tokens_per_row:.0f} tokens",
                    name,
                    f"{figures['rows_per_second']:.2f}",
                    f"{figures['tokens_per_second']:.0f}",
                    f"{figures['cpu_seconds_per_row']:.3f}",
                    f"{figures['loss']:.3f}",
                    f"{figures['peak_gb'] or ''}",
                    quicker,
                    gap,
                ]
            )
    head = ["rows", "trainer", "rows/s", "tokens/s", "cpu-s/row", "loss", "peak GB"]
    return table([*head, "turnout is quicker by", "turnout's loss − its"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _score(value: float) -> str:
    return f"{value:.3f}"


def _gain(value: float, ends: Interval) -> str:
    return f"{value:+.3f} {_ends(ends)}"


def _ends(ends: Interval) -> str:
    return f"[{ends[0]:+.3f}, {ends[1]:+.3f}]"
