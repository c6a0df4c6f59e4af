from __future__ import annotations

import pytest

from rlsys.methods.self_instruct.pool import Nearest, Pool, rouge_l


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        # By hand: F = 2 LCS / (m + n), LCS the longest common subsequence of words.
        ("the cat sat on the mat", "the cat lay on a mat", 2 * 4 / (6 + 6)),  # the cat on mat
        ("police killed the gunman", "the gunman killed police", 2 * 2 / (4 + 4)),  # Lin's example: the gunman
        ("police killed the gunman", "police kill the gunman", 2 * 3 / (4 + 4)),
        ("a b c d", "b d", 2 * 2 / (4 + 2)),
        ("Sort the list!", "sort  the LIST", 1.0),
        ("one two", "three four", 0.0),
        ("an égalité", "an egalite", 2 * 1 / (2 + 2)),
    ],
)
def test_rouge_l_is_what_it_is_by_hand(one: str, other: str, wanted: float):
    assert rouge_l(one, other) == pytest.approx(wanted)
    assert rouge_l(other, one) == pytest.approx(wanted)


def test_the_nearest_is_the_first_of_the_most_alike():
    pool = Pool([("a", "name three birds"), ("b", "name three fish"), ("c", "count to ten"), ("d", "name three birds")])
    assert pool.nearest("name three old birds") == Nearest("a", 2 * 3 / (4 + 3))
    assert pool.nearest("nothing of this") == Nearest("a", 0.0)
    pool.add("e", "name three old birds")
    assert pool.nearest("Name three old birds.") == Nearest("e", 1.0)
    assert Pool().nearest("anything") is None


def test_it_agrees_with_a_table_of_subsequences():
    """Brute force on words of two letters, where ties and repetitions abound."""

    def lcs(a: list[str], b: list[str]) -> int:
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a, start=1):
            for j, y in enumerate(b, start=1):
                table[i][j] = table[i - 1][j - 1] + 1 if x == y else max(table[i - 1][j], table[i][j - 1])
        return table[-1][-1]

    texts = [
        " ".join("xy"[(seed >> bit) & 1] + "zw"[(seed >> (bit + 1)) & 1] for bit in range(seed % 9 + 1))
        for seed in range(1, 200, 7)
    ]
    for one in texts:
        for other in texts:
            a, b = one.split(), other.split()
            assert rouge_l(one, other) == pytest.approx(2 * lcs(a, b) / (len(a) + len(b)))
