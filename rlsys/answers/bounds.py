"""Which formulas are worth computing: decided from their text, before anything is evaluated, so that no answer costs
more than milliseconds."""

from __future__ import annotations

import re

LONGEST_FORMULA = 250
"""Characters."""
MOST_EXPONENT = 10_000
"""Greatest number in an exponent."""
MOST_FACTORIAL = 1000
"""Greatest number under a factorial or in a binomial coefficient."""

_COMMAND = re.compile(r"\\([A-Za-z]+)")
_KNOWN = """
frac sqrt binom cdot times div pm mp infty pi le ge ne cup cap in emptyset circ angle triangle overline bar vec
hat mid log ln lg exp sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh alpha beta gamma delta epsilon
varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega Gamma Delta
Theta Lambda Xi Pi Sigma Phi Psi Omega lfloor rfloor lceil rceil lvert rvert vert langle rangle mathbb mathcal
setminus begin end cdots ldots dots to rightarrow equiv pmod bmod mod gcd lcm min max cong sim parallel perp
prime forall exists neg land lor subset subseteq notin
"""
_ENDLESS = re.compile(r"\\(sum|prod|int|iint|oint|lim|bigcup|bigcap)(?![A-Za-z])")
_NESTED_NUMBER = re.compile(r"[\d)}!]\s*(?:\^|\*\*|!)|\\binom|!")
_FACTORIAL = re.compile(r"(\d+)\s*!|[)}!]\s*!")
_BARE = re.compile(r"-?\d+(?:\s*(?:\^|\*\*|!)\s*\S*)?")
_RAISES = re.compile(r"\^|\*\*|exp|sinh|cosh")
_STEPWISE = re.compile(r"\\[lr](?:floor|ceil)|\\[bp]?mod|\\gcd|\\lcm")
"""Functions that need all digits of what they are of."""
_VARIABLE_FACTORIAL = re.compile(r"\([^()^!]*[A-Za-z][^()^!]*\)\s*!")
_BINOMIAL = re.compile(r"\\binom\{([^{}]*)\}")


def unknown_command(text: str) -> str | None:
    """The first LaTeX command that no answer needs."""
    return next(
        (
            f"\\{name}"
            for name in _COMMAND.findall(text)
            if name not in _KNOWN.split() and not _ENDLESS.match(f"\\{name}")
        ),
        None,
    )


def costly(text: str) -> str | None:
    """What makes a tidy formula too large to compute, in words; None where nothing does."""
    if len(text) > LONGEST_FORMULA:
        return f"a formula of {len(text)} characters (at most {LONGEST_FORMULA} are computed)"
    if endless := _ENDLESS.search(text):
        return f"\\{endless[1]}, which is not computed"
    most = 100 if _STEPWISE.search(text) else MOST_EXPONENT
    for exponent in _exponents(text):
        if any(int(digits[:9]) > most for digits in re.findall(r"\d+", exponent)):
            return "a power too large to compute"
        if _NESTED_NUMBER.search(exponent) or len(_RAISES.findall(exponent)) > 1:
            return "a power of powers, which is not computed"
    for factorial in _FACTORIAL.finditer(_VARIABLE_FACTORIAL.sub("", text)):
        if factorial[1] is None:
            return "a factorial of a factorial or group, which is not computed"
        if int(factorial[1][:9]) > MOST_FACTORIAL:
            return "a factorial too large to compute"
    if any(len(digits) > 3 for argument in _BINOMIAL.findall(text) for digits in re.findall(r"\d+", argument)):
        return "a binomial coefficient too large to compute"
    return None


def _exponents(text: str) -> list[str]:
    """What follows each ^, ** or exponential function: a group in braces or round brackets, or a number, with what is a
    power again."""
    found = []
    for sign in _RAISES.finditer(text):
        rest = text[sign.end() :].lstrip()
        if rest[:1] in ("{", "("):
            found.append(_group(rest))
        elif bare := _BARE.match(rest):
            found.append(bare.group())
    return found


def _group(text: str) -> str:
    depth = 0
    for index, sign in enumerate(text):
        depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(sign, 0)
        if depth == 0:
            return text[: index + 1]
    return text
