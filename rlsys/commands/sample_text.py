"""Samples as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from rlsys.samples import Sample


def printable(text: str) -> str:
    """The text with control characters spelled out, but for tabs and the ends of lines: what a model wrote must not
    steer a terminal."""
    return "".join(char if char.isprintable() or char in "\t\n" else ascii(char)[1:-1] for char in text)


def text_lines(title: str, text: str, indent: str = "  ") -> Iterator[str]:
    """A title, and under it the text (`printable`)."""
    yield f"{title}:"
    for line in printable(text).split("\n"):
        yield f"{indent}| {line}"


def how_sampled(sample: Sample) -> str:
    """How many tokens, what ended it, and by which policy."""
    versions = sorted(
        {version for version, trained in zip(sample.policy_versions, sample.loss_mask, strict=True) if trained}
    )
    if not versions:
        return "no policy sampled it"
    return (
        f"{sum(sample.loss_mask)} tokens, ended by {sample.finish_reason}, policy version "
        f"{', '.join(map(str, versions))}"
    )


def reward_line(sample: Sample) -> str:
    """The reward and its parts, or why there is none."""
    if sample.abstention is not None:
        return f"reward: none, abstained: {sample.abstention}"
    parts = ", ".join(f"{name} {value:.6g}" for name, value in sample.reward_parts.items())
    return f"reward: {sample.reward:.6g}{f' ({parts})' if parts else ''}"
