from rlsys.commands.report.curves import CURVES, charts, of_curves, thinned


def test_each_metric_is_on_one_curve_the_first_that_names_it():
    names = {
        "reward/mean",
        "reward/std",
        "reward/style",
        "reward/accuracy",
        "eval/accuracy_greedy",
        "eval/style_greedy",
    }
    assert {curve.title: own for curve, own in of_curves(names).items()} == {
        "Reward": ["reward/mean"],
        "Accuracy": ["reward/accuracy", "eval/accuracy_greedy"],
        "Parts of the reward": ["reward/style"],
        "Other held-out measures": ["eval/style_greedy"],
    }
    assert all(curve.formula for curve in CURVES)


def test_a_chart_has_the_steps_that_its_metrics_were_measured_in():
    metrics = [
        {"step": 0, "eval/accuracy": 0.5},
        {"step": 1, "reward/mean": 0.25, "reward/accuracy": None},
        {"step": 2, "reward/mean": None, "eval/accuracy": 0.75},
    ]
    reward, accuracy = charts(metrics, 10)
    assert (reward.steps, reward.series, reward.measured) == ([1], [("reward/mean", [0.25])], 1)
    assert (accuracy.steps, accuracy.series) == ([0, 2], [("eval/accuracy", [0.5, 0.75])])


def test_many_steps_are_thinned_evenly():
    assert thinned(range(10), 4) == [0, 3, 6, 9]
    assert thinned(range(4), 4) == [0, 1, 2, 3]
    (chart,) = charts([{"step": step, "train/entropy": 1.0} for step in range(1, 102)], 3)
    assert (chart.steps, chart.measured) == ([1, 51, 101], 101)
