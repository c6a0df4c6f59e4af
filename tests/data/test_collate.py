from hashlib import blake2b

from rlsys.data.collate import collate, collate_comparisons
from rlsys.data.load import Comparison, Demonstration


def test_rows_are_right_padded():
    batch = collate([Demonstration("a", (5, 6), (0, 1)), Demonstration("b", (7, 8, 9), (0, 0, 1))], pad_id=99)
    assert batch.token_ids_BT.tolist() == [[5, 6, 99], [7, 8, 9]]
    assert batch.loss_mask_BT.tolist() == [[False, True, False], [False, False, True]]
    assert batch.lengths_B.tolist() == [2, 3]


def test_the_answers_of_a_comparison_stay_together_as_one_unit():
    def answer(*tokens: int) -> Demonstration:
        return Demonstration("-", tokens, (0,) * (len(tokens) - 1) + (1,))

    batch = collate_comparisons(
        [
            Comparison("train:7", (answer(5, 6), answer(5, 7, 8)), (1.0, 0.0), preference=0.75),
            Comparison("x", (answer(1, 2), answer(1, 3), answer(1, 4)), (0, 2, 0.5)),
        ],
        pad_id=99,
    )
    assert batch.token_ids_BT.tolist() == [[5, 6, 99], [5, 7, 8], [1, 2, 99], [1, 3, 99], [1, 4, 99]]
    assert batch.loss_mask_BT.int().tolist() == [[0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert batch.unit_B.tolist() == [0, 0, 1, 1, 1]
    assert batch.grade_B.tolist() == [1.0, 0.0, 0.0, 2.0, 0.5]
    assert batch.preference_B.tolist() == [0.75, 0.75, 1.0, 1.0, 1.0]
    first = int.from_bytes(blake2b(b"train:7", digest_size=8).digest(), "big") >> 1
    assert batch.comparison_id_B.tolist()[:2] == [first, first]
    assert len(set(batch.comparison_id_B.tolist())) == 2
