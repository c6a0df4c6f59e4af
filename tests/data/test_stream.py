import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsys.data.stream import Stream
from rlsys.errors import DataError
from rlsys.samples import Prompt


@given(
    rows=st.integers(1, 30),
    sizes=st.lists(st.integers(1, 30), max_size=20),
    seed=st.integers(0, 5),
    shuffle=st.booleans(),
)
def test_each_epoch_has_each_row_once_and_restoring_goes_on_exactly(
    rows: int, sizes: list[int], seed: int, shuffle: bool
):
    stream = Stream(range(rows), seed, shuffle)
    taken, states = [], []
    for size in sizes:
        states.append((len(taken), stream.state()))
        taken += stream.take(min(size, rows))
    for start in range(0, len(taken) - rows + 1, rows):
        assert sorted(taken[start : start + rows]) == list(range(rows))
    for position, state in states:
        other = Stream(range(rows), seed, shuffle)
        other.restore(json.loads(json.dumps(state)))
        assert [
            row for size in sizes[states.index((position, state)) :] for row in other.take(min(size, rows))
        ] == taken[position:]


def test_epochs_have_different_orders_and_seeds_too():
    stream = Stream(range(100), 0, True)
    first, second = stream.take(100), stream.take(100)
    assert first != second
    assert first != Stream(range(100), 1, True).take(100)
    assert Stream(range(5), 0, False).take(4) == [0, 1, 2, 3]


def test_prompts_carry_their_epoch_across_its_border():
    stream = Stream([Prompt(f"train:{i}", "", (1,)) for i in range(3)], 0, True)
    assert [prompt.epoch for prompt in stream.take(2) + stream.take(2) + stream.take(3)] == [0, 0, 0, 1, 1, 1, 2]


def test_refuses_a_step_larger_than_the_data_and_a_position_in_other_data():
    stream = Stream(range(3), 0, True)
    with pytest.raises(DataError, match="a step takes 4 rows at once, the data set has 3"):
        stream.take(4)
    with pytest.raises(DataError, match=r"it was for \{'rows': 3\}, now there is \{'rows': 4\}"):
        Stream(range(4), 0, True).restore(stream.state())
