"""Evaluations as text for people."""

from collections.abc import Sequence

from training.evaluation.evaluate import Evaluation


def table(mine: Evaluation, others: Sequence[Evaluation]) -> str:
    """A model's scores by task, and how it differs from others on the same rows."""
    lines = [f"{mine.model}: {mine.n} rows, {mine.errored} errored, score {mine.score:.3f}"]
    for name, task in mine.tasks.items():
        lines.append(f"  {name:24} {task.metric:12} {task.score:.3f}  ({len(task.values)} rows)")
        for other in others:
            found = mine.against(other, name)
            low, high = found.ci95
            lines.append(
                f"    against {other.model}: {found.score:.3f}, difference {found.difference:+.3f} "
                f"[{low:+.3f}, {high:+.3f}]"
            )
    return "\n".join(lines)
