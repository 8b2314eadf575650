"""`turnout bench experiments` on few experiments: its figures and its picture."""

import json
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner

from benchmarks.experiments.cli import experiments
from benchmarks.experiments.run import HARD, METRICS


def test_figures_and_picture(tmp_path: Path) -> None:
    picture = tmp_path / "experiments.svg"
    done = CliRunner(catch_exceptions=False).invoke(
        experiments, ["--experiments", "100", "--looks", "40", "--plot", str(picture), "--json"]
    )
    found = json.loads(done.stdout)
    assert done.exit_code == (0 if found["ok"] else 1)
    assert [row["metric"] for row in found["metrics"]] == list(METRICS)
    assert set(found["hard_aa"]) == set(HARD)
    for row in found["metrics"]:
        assert row["false_positives"]["low"] <= 0.05 < row["false_positives_peeking"]["high"]
        assert row["power"]["high"] >= 0.7
        assert row["twice_the_effect"]["mean_units_ratio"] < row["mean_units_ratio_at_effect"]
    split = found["sample_ratio"]
    assert split["counts_of_exactly_48_52_caught_at_units"] <= 10_000
    assert split["true_48_52_units_until_caught"]["p50"] < 12_000
    # An axis and four lines for each metric.
    paths = ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}path")
    assert len(list(paths)) == 5 * len(METRICS)
