"""What counts as the same, and as nearly the same."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest

from rlsys.curation.embedding import Embeddings
from rlsys.curation.exact import fingerprint, normal
from rlsys.curation.near import Bands, NearDuplicates, grams, signature, words

WORDS = [f"word{number}" for number in range(500)]


def text(seed: int, length: int = 60) -> list[str]:
    return Random(seed).choices(WORDS, k=length)


def jaccard(one: list[str], other: list[str], size: int = 5) -> float:
    first, second = ({tuple(own[at : at + size]) for at in range(len(own) - size + 1)} for own in (one, other))
    return len(first & second) / len(first | second)


def test_case_white_space_and_unicode_form_are_nothing():
    assert normal("  Ｈello\tWORLD\n") == "hello world"
    assert fingerprint(normal("Straße\u00a01")) == fingerprint(normal("STRASSE 1"))
    assert fingerprint("a", "b") != fingerprint("a b") != fingerprint("ab")


def test_a_japanese_text_has_a_word_for_each_character():
    assert len(words("東京です GPU4つ")) == 4 + 1 + 1


def test_grams_are_equal_where_the_words_are():
    one, other = words("a b c d e"), words("x B c d y")
    assert grams(one, 3)[1] == grams(other, 3)[1]
    assert len({*grams(one, 3).tolist(), *grams(other, 3).tolist()}) == 5
    assert len(grams(one, 6)) == 0


@pytest.mark.parametrize("changed", [0, 1, 3, 8])
def test_the_estimate_is_the_jaccard_similarity(changed: int):
    """Over 512 hash functions its standard error is at most sqrt(0.25 / 512) = 0.022."""
    one = text(1, 200)
    other = [*one[: 200 - 10 * changed], *text(2, 10 * changed)]
    signed = [signature(words(" ".join(own)), 5, 512) for own in (one, other)]
    assert np.mean(signed[0] == signed[1]) == pytest.approx(jaccard(one, other), abs=4 * 0.022)


def test_two_texts_at_the_threshold_meet_in_a_band():
    """With 18 bands of 7: 1 - (1 - 0.8 ** 7) ** 18 = 0.9855. With 16 of 8 it would be 0.947."""
    bands = Bands.at(0.8, 128)
    assert (bands.count, bands.rows) == (18, 7)
    assert bands.meets(0.8) == pytest.approx(0.9855, abs=1e-4)
    assert bands.meets(0.3) == pytest.approx(0.0039, abs=1e-4)
    assert Bands.at(1.0, 128) == Bands(1, 128)


def added(texts: list[list[str]], threshold: float = 0.8) -> NearDuplicates:
    near = NearDuplicates(threshold, 128)
    near.add(np.stack([signature(words(" ".join(own)), 5, 128) for own in texts]))
    return near


def test_each_row_is_dropped_for_one_that_stays():
    base = text(1)
    # The second is like the first (52 of 60 shingles are shared), the third has nothing of either.
    texts = [base, [*base[:-2], "new", "end"], text(2), base]
    near = added(texts)
    assert jaccard(base, texts[1]) > 0.9
    found = {(alike.row, alike.other) for alike in near.search(np.ones(4, dtype=bool))}
    assert found == {(1, 0), (3, 0)}
    without_first = np.array([False, True, True, True])
    assert {(alike.row, alike.other) for alike in near.search(without_first)} == {(3, 1)}


def test_a_chain_is_not_eaten_whole():
    """The third is like the second, which is dropped, and not like the first, which stays: so it stays."""
    base = text(1, 100)
    chain = [base, [*base[8:], *text(2, 8)], [*base[16:], *text(2, 8), *text(3, 8)]]
    assert [round(jaccard(*pair), 2) for pair in pairwise(chain)] == [0.85, 0.85]
    assert jaccard(chain[0], chain[2]) < 0.75
    found = added(chain, 0.8).search(np.ones(3, dtype=bool))
    assert [(alike.row, alike.other) for alike in found] == [(1, 0)]


def letters(texts: list[str]) -> list[list[int]]:
    """An embedding that knows how often a and b occur."""
    return [[own.count("a"), own.count("b")] for own in texts]


def test_rows_alike_in_an_embedding_of_ones_own():
    # Angles: 0, 45, 26.6 and 0 degrees; the cosine of 26.6 degrees is 0.894, of 18.4 (to the second) 0.949.
    embeddings = Embeddings(f"{__name__}.letters" if "." in __name__ else "curation.test_near.letters", 0.94)
    embeddings.add([(0, "a"), (1, "ab"), (2, "aab")])
    embeddings.add([(5, "aaaa")])
    found = list(embeddings.search(np.ones(6, dtype=bool)))
    assert [(row, other) for row, other, _ in found] == [(2, 1), (5, 0)]
    assert found[0][2] == pytest.approx(3 / 10**0.5)
