"""The figure: proxy and gold over the square root of the KL, as in the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.over_optimization.curves import Point, turning_point

COLOURS = ("#444444", "#c8553d", "#2a6f97", "#588157", "#8d5a97")
WIDTH, HEIGHT, DPI = 7.5, 4.6, 100
"""Inches, inches, pixels per inch."""


def draw(curves: Mapping[str, Sequence[Point]], title: str, file: Path) -> None:
    """Write a PNG: a solid line of gold and a dashed one of the proxy for each curve, its turning point marked."""
    figure = import_module("matplotlib.figure").Figure(
        figsize=(WIDTH, HEIGHT), layout="constrained"
    )  # an optional dependency
    axes = figure.add_subplot()
    for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
        ordered = sorted(curve, key=lambda point: point.kl)
        distances = [root(point) for point in ordered]
        axes.plot(distances, [point.gold for point in ordered], color=colour, marker=".", label=name)
        axes.plot(
            distances,
            [point.proxy for point in ordered],
            color=colour,
            marker=".",
            linestyle="--",
            linewidth=1,
            alpha=0.6,
        )
        turn = turning_point(curve)
        axes.plot([root(turn)], [turn.gold], color=colour, marker="*", markersize=15, markeredgecolor="white")
    axes.plot([], [], color="black", marker="*", linestyle="-", label="gold, and where it turns")
    axes.plot([], [], color="black", linestyle="--", linewidth=1, alpha=0.6, label="proxy, on the scale of gold")
    axes.set_xlabel("square root of KL(policy || SFT) in nats")
    axes.set_ylabel("reward")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    figure.savefig(file, dpi=DPI)


def root(point: Point) -> float:
    """An estimate of a KL of nearly 0 can be below it."""
    return math.sqrt(max(point.kl, 0.0))
