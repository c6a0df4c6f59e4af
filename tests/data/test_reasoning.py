from itertools import combinations

import pytest

from rlsys.data.reasoning import distance, equations, most_different, path_function
from rlsys.errors import ConfigError, DataError

GSM8K = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 48+24 = <<48+24=72>>72 clips.\n#### 72"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GSM8K, ("48/2=24", "48+24=72")),
        ("3+8=11;11+5=16", ("3+8=11", "11+5=16")),
        ("She pays $1,200 x 2 = $2,400, then 2400 - 400 = 2000.", ("1200*2=2400", "2400-400=2000")),
        ("It is (3+4)*2 = 14.", ("(3+4)*2=14",)),
        ("20 − 13 = 7 and .5 x 4 = 2", ("20-13=7", ".5*4=2")),
        # Units hide an equation from whoever reads the text; the note has it.
        ("5 apples * 6 = <<5*6=30>>30 apples\n30 + 1 = 31 pears", ("5*6=30", "30+1=31")),
        ("5 apples x $2 = $<<5*2=10>>10, and 10-1 = <<10-1=9>>9", ("5*2=10", "10-1=9")),
        ("x = 5 and no sum", ()),
        ("", ()),
    ],
)
def test_equations(text: str, expected: tuple[str, ...]):
    assert equations(text) == expected


def test_the_same_equations_in_other_words_are_one_path_and_another_order_is_another():
    path = path_function("equations")
    assert path("First 3 + 8 = 11. Then 11 + 5 = 16.") == path("3+8=11, and so 11+5=16")
    assert path("3+8=11;11+5=16") != path("8+5=13;3+13=16")
    assert path_function("text")("a  b") != path_function("text")("a b")


def lengths(text: str) -> list[str]:
    return [str(len(word)) for word in text.split()]


def number(text: str) -> int:
    return 3


def test_a_function_of_one_s_own():
    assert path_function(f"{__name__}.lengths")("ab c") == ("2", "1")
    with pytest.raises(DataError, match="returned int, not a text"):
        path_function(f"{__name__}.number")("ab")
    with pytest.raises(ConfigError, match=r"method.path: 'equation' is not known \(known: text, equations"):
        path_function("equation")
    with pytest.raises(ConfigError, match="no such module"):
        path_function("nowhere.at_all")


def test_distance():
    assert distance(("1+2=3", "3+3=6"), ("1+2=3", "3+4=7")) == pytest.approx(1 - 1 / 3)
    assert distance(("one two three",), ("three two",)) == pytest.approx(1 - 2 / 3)  # exact texts by their words
    assert distance((), ()) == 0


def test_the_paths_that_differ_most_are_chosen():
    paths = [("a", "b"), ("a", "b", "c"), ("x", "y"), ("a", "x")]
    # The first; then the farthest from it, at 1; then distances to those two: abc 1/3 and 1; ax 2/3 and 2/3: ax.
    assert most_different(paths, [], 2) == [0, 2]
    assert most_different(paths, [], 3) == [0, 2, 3]
    assert most_different(paths, [], 9) == [0, 1, 2, 3]
    # Beside what is known, the first is no longer new.
    assert most_different(paths, [("a", "b")], 1) == [2]
    # Each choice is at least half as far from its nearest as the best set's closest two (Gonzalez 1985).
    for count in (2, 3):
        spread = [
            min(distance(paths[i], paths[j]) for i, j in combinations(chosen, 2))
            for chosen in combinations(range(4), count)
        ]
        own = min(distance(paths[i], paths[j]) for i, j in combinations(most_different(paths, [], count), 2))
        assert own >= max(spread) / 2
