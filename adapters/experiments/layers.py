"""Room in a layer: experiments that share one get units that no other has."""

from collections.abc import Sequence

from adapters.experiments.design import ANY_TARGET, Experiment

_SLACK = 1e-9  # shares of 0.1 add up to a little more or less than 1


def free_start(
    experiment: Experiment, live: Sequence[tuple[Experiment, float]]
) -> tuple[float, list[str]]:
    """Where a new experiment's share begins, given those that run and where theirs do; and the
    reasons why there is no place for it.

    An answer is recorded in one experiment, so those that may meet on a request have to share a
    layer: those on one domain or tier, and one between routers with every other.
    """
    layer = experiment.share_of_layer
    problems, taken = [], []
    for other, start in live:
        theirs = other.share_of_layer
        if theirs.name == layer.name:
            taken.append((start, start + theirs.share))
            if other.unit != experiment.unit:
                problems.append(
                    f"unit: {other.name!r} in layer {layer.name!r} assigns by {other.unit}"
                )
        elif other.domain == experiment.domain or ANY_TARGET in (other.domain, experiment.domain):
            problems.append(
                f"layer: {other.name!r} runs on {other.domain} in layer {theirs.name!r}, "
                f"{experiment.name!r} would on {experiment.domain} in layer {layer.name!r}; "
                "stop it, or give both a share of one layer"
            )
    end, widest = 0.0, 0.0
    for start, stop in [*sorted(taken), (1.0, 1.0)]:
        if start - end >= layer.share - _SLACK:
            return end, problems
        widest, end = max(widest, start - end), max(end, stop)
    names = ", ".join(other.name for other, _ in live if other.share_of_layer.name == layer.name)
    problems.append(
        f"layer: {names} leave {widest:.3g} of layer {layer.name!r}, {layer.share:g} is wanted; "
        "stop one, or give each a share of the layer"
    )
    return 0.0, problems
