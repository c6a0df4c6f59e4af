"""Whether two formulas are equal: both are computed to 50 digits, with numbers in the place of their variables.

Runs in a process that can be killed (see `rlsys.rewards.math_worker`), as SymPy may take any time. Nothing is expanded
or simplified: two formulas that agree at several random points are equal (Schwartz 1980, "Fast probabilistic algorithms
for verification of polynomial identities")."""

from __future__ import annotations

import random
import re
from fractions import Fraction

import sympy
from latex2sympy2_extended import latex2sympy
from sympy.core.function import AppliedUndef

from rlsys.answers.form import FUNCTIONS, Answer
from rlsys.answers.number import MOST_BITS, Closeness, close

DIGITS = 50
EXACT = Fraction(1, 10**30)
"""Relative difference up to which two numbers of 50 digits are one."""
POINTS = 6
"""Random values of the variables, positive and negative ones."""

_FUNCTION = re.compile(rf"(?<![\\A-Za-z])({FUNCTIONS})(?![A-Za-z])")
_IMAGINARY = sympy.Symbol("i")

Point = dict[sympy.Basic, sympy.Basic | float]
Complex = tuple[Fraction, Fraction]
"""Real and imaginary part."""


class NotComputed(ValueError):
    """A formula that has no value."""


def same_formula(truth: Answer, response: Answer, closeness: Closeness) -> bool:
    """False where either has no value that can be computed."""
    try:
        if truth.sides or (truth.name and response.sides):
            return bool(response.sides or response.name) and _same_equation(_sides(truth), _sides(response))
        one, other = _expression(truth), _expression(response)
        return _same_value(one, other, truth, response, closeness)
    except NotComputed:
        return False


def _sides(answer: Answer) -> tuple[sympy.Expr, sympy.Expr]:
    left, right = answer.sides or (answer.name, answer.written)
    return _parsed(left), _parsed(right)


def _expression(answer: Answer) -> sympy.Expr:
    if answer.number is not None:
        return sympy.Rational(answer.number.value.numerator, answer.number.value.denominator)
    return _parsed(answer.sides[1] if answer.sides else answer.written)


def _parsed(formula: str) -> sympy.Expr:
    text = re.sub(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", formula)
    text = _FUNCTION.sub(r"\\\1 ", text).replace("**", "^").replace("*", r"\cdot ")
    text = re.sub(r"\^(-?\d+|\([^()]*\))", r"^{\1}", text).replace(r"^{\circ}", r"\cdot \frac{\pi}{180}")
    try:
        found = latex2sympy(text, normalization_config=None)
    except Exception as error:  # the parser raises bare exceptions for what it can't read
        raise NotComputed(str(error)) from error
    if not isinstance(found, sympy.Expr) or found.has(AppliedUndef, sympy.Sum, sympy.Integral):
        raise NotComputed(f"{formula} is no expression")
    return found


def _points(symbols: set[sympy.Basic]) -> list[Point]:
    drawn = random.Random(0)
    fixed: Point = {_IMAGINARY: sympy.I}
    names = sorted(symbols - {_IMAGINARY}, key=str)
    if not names:
        return [fixed]
    points = [fixed.copy() for _ in range(POINTS)]
    for number, point in enumerate(points):
        for name in names:
            sign = 1 if number < 2 else drawn.choice((1, -1))
            point[name] = sympy.Rational(sign * drawn.randint(1000, 2999), 1009)
    return points


def _value(expression: sympy.Expr, point: Point) -> Complex | None:
    """None where the expression has no value there."""
    try:
        found = expression if isinstance(expression, sympy.Rational) else expression.evalf(DIGITS, subs=point)
        parts = found.as_real_imag()
        return None if found.is_finite is False else (_fraction(parts[0]), _fraction(parts[1]))
    except (ValueError, TypeError, AttributeError, ZeroDivisionError, OverflowError, NotImplementedError):
        return None


def _fraction(number: sympy.Expr) -> Fraction:
    """Exactly what a number with 50 digits is. Raises ValueError for what is none, or is of a size that nobody
    answers."""
    if isinstance(number, sympy.Rational) and number.p.bit_length() + number.q.bit_length() < 2 * MOST_BITS:
        return Fraction(number.p, number.q)
    if not isinstance(number, sympy.Float):
        raise ValueError(f"{number} is no number")
    sign, mantissa, exponent, _ = number._mpf_
    if abs(exponent) > MOST_BITS or (not mantissa and exponent):  # the latter: infinite or not a number
        raise ValueError("out of range")
    return (-1) ** sign * int(mantissa) * Fraction(2) ** exponent


def _pairs(one: sympy.Expr, other: sympy.Expr) -> list[tuple[Complex, Complex]]:
    """Values of both at the points where both have one, only the real ones where there are any."""
    points = _points(one.free_symbols | other.free_symbols)
    found = [(first, second) for point in points if (first := _value(one, point)) and (second := _value(other, point))]
    if not found:
        raise NotComputed("no value anywhere")
    return [pair for pair in found if not pair[0][1] and not pair[1][1]] or found


def _same_value(one: sympy.Expr, other: sympy.Expr, truth: Answer, response: Answer, closeness: Closeness) -> bool:
    decimals = _decimals(truth), _decimals(response)
    if any(
        answer.number is None and places is not None
        for answer, places in ((truth, decimals[0]), (response, decimals[1]))
    ):
        closeness = Closeness(
            closeness.tolerance, rounded=False
        )  # how many decimals such a formula's value has is not known
    return all(_close(first, second, decimals, closeness) for first, second in _pairs(one, other))


def _decimals(answer: Answer) -> int | None:
    if answer.number is not None:
        return answer.number.decimals
    return 0 if re.search(r"\d\.\d|\.\d", answer.written) else None


def _close(truth: Complex, response: Complex, decimals: tuple[int | None, int | None], closeness: Closeness) -> bool:
    return all(
        abs(known - given) <= EXACT * max(map(abs, (*truth, *response)))
        or close(known, decimals[0], given, decimals[1], closeness)
        for known, given in zip(truth, response, strict=True)
    )


def _same_equation(one: tuple[sympy.Expr, sympy.Expr], other: tuple[sympy.Expr, sympy.Expr]) -> bool:
    """Whether left - right of one is a constant multiple of that of the other."""
    pairs = _pairs(
        *(sympy.Add(left, sympy.Mul(-1, right, evaluate=False), evaluate=False) for left, right in (one, other))
    )
    real = [(first[0], second[0]) for first, second in pairs if not first[1] and not second[1] and second[0]]
    if len(real) < 2 or not real[0][0]:
        return False
    ratio = real[0][0] / real[0][1]
    return all(abs(first / second - ratio) <= EXACT * abs(ratio) for first, second in real)
