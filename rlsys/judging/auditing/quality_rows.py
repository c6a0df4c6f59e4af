"""A judge's statistics as rows of a table, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARTS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "judge's agreement",
        (
            ("canary_accuracy", "{:.1%} on canaries{of_canaries}"),
            ("human_agreement", "{:.1%} with people"),
            ("human_log_likelihood", "log-likelihood of people's labels {:.3f} nats"),
            ("self_agreement", "{:.1%} with itself"),
            ("self_difference", "{:.3f} mean difference on repeats"),
        ),
    ),
    (
        "judge's order bias",
        (
            ("order_bias", "{:+.3f} for the answer shown first"),
            ("same_position_rate", "same position won twice in {:.1%}"),
        ),
    ),
    (
        "judge's length bias",
        (("longer_wins", "the longer one wins {:.1%}"), ("length_correlation", "correlation {:+.3f}")),
    ),
    ("judge's labels", (("label_entropy", "{:.3f} bits of entropy"),)),
    ("judge's latency", (("latency_mean", "{:.3g} s mean"), ("latency_p95", "{:.3g} s for 95%"))),
)
"""Row, and the statistics in it with the words around each; one that was not measured is left out."""
LONGEST = 200
"""Characters that are shown of a reason for no answer: it may quote what an endpoint said."""


def quality_rows(judge: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Of what `run_quality` found; nothing where no judge was asked."""
    if not judge:
        return []
    shares = [f"{judge['cached']:.1%} from the cache"] * bool(judge["cached"]) + [f"{judge['cost']:.4g} spent"] * bool(
        judge["cost"]
    )
    tokens = f"{judge['prompt_tokens']:,.0f} tokens read, {judge['completion_tokens']:,.0f} written"
    of_canaries = (
        f" ({judge['canaries']:,} of them)" if "canaries" in judge else ""
    )  # older summaries did not count them
    rows = [("judge", ", ".join([f"{judge['verdicts']:,.0f} verdicts", *shares, tokens]))]
    for row, parts in PARTS:
        if found := [
            text.format(judge[name], of_canaries=of_canaries) for name, text in parts if judge.get(name) is not None
        ]:
            rows.append((row, ", ".join(found)))
    if judge["abstentions"]:
        counted = ", ".join(f"{count:,} {reason}" for reason, count in judge["abstentions"].items())
        rows.append(("judge gave no answer", f"{judge['abstained']:.1%}: {counted}"))
        rows += _example(judge.get("abstention_example") or "")
    if judge["canary_alarm"]:
        rows.append(
            (
                "canary alarm",
                "the judge fell below judge.canary_alarm on pairs whose better answer is known: don't trust its labels",
            )
        )
    return rows


def _example(reason: str) -> list[tuple[str, str]]:
    """A whole reason for no answer, where it says more than its first words."""
    if ":" not in reason:
        return []
    plain = "".join(char if char.isprintable() else " " for char in reason[:LONGEST]) + "..." * (len(reason) > LONGEST)
    hint = "; see judge.min_label_mass and judge.template_args" if reason.startswith("no verdict:") else ""
    return [("no answer, for example", plain + hint)]
