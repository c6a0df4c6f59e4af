"""What a sequence of T tasks is measured by: R[i][j], the score on task j after training on task i (from 0), the
higher, the better.

Average accuracy and backward transfer: Lopez-Paz and Ranzato 2017, arXiv 1706.08840, section 2. Forgetting: Chaudhry et
al. 2018, arXiv 1801.10112, section 3: best past minus now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

Matrix = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Measures:
    """Of a whole sequence; the last two are None for a single task."""

    average: float
    """mean over j of R[T-1][j]."""
    backward_transfer: float | None
    """mean over j < T-1 of R[T-1][j] - R[j][j]: below 0 where later tasks harmed earlier ones."""
    forgetting: float | None
    """mean over j < T-1 of max over i < T-1 of R[i][j], minus R[T-1][j]: from the best that it has been, also before it
    trained on the task."""


def measures(matrix: Matrix) -> Measures:
    """Raises ValueError unless the matrix is square."""
    tasks = len(matrix)
    if not tasks or any(len(row) != tasks for row in matrix):
        raise ValueError(f"wanted as many scores after each task as there are tasks, got {[*map(len, matrix)]}")
    last, old = matrix[-1], range(tasks - 1)
    if not old:
        return Measures(fmean(last), None, None)
    return Measures(
        average=fmean(last),
        backward_transfer=fmean(last[j] - matrix[j][j] for j in old),
        forgetting=fmean(max(matrix[i][j] for i in old) - last[j] for j in old),
    )


def model_of(i: int, j: int, isolates: bool) -> int | None:
    """Which task's model R[i][j] is measured with; None: the base, before any task. Isolated tasks have each their
    own, once they have been trained."""
    if not isolates:
        return i
    return j if j <= i else None


def rows(tasks: Sequence[str], matrix: Matrix) -> list[tuple[str, ...]]:
    """A table for people: the matrix, then its measures; the first row names the tasks."""
    found = measures(matrix)
    told = {
        "average": found.average,
        "backward transfer": found.backward_transfer,
        "forgetting": found.forgetting,
    }
    table = [("after", *tasks)]
    table += [(task, *(f"{score:.3f}" for score in row)) for task, row in zip(tasks, matrix, strict=True)]
    empty = [""] * (len(tasks) - 1)
    return table + [(name, f"{value:.3f}", *empty) for name, value in told.items() if value is not None]
