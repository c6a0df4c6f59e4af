from rlsys.data.collate import collate
from rlsys.data.load import Demonstration


def test_rows_are_right_padded():
    batch = collate([Demonstration("a", (5, 6), (0, 1)), Demonstration("b", (7, 8, 9), (0, 0, 1))], pad_id=99)
    assert batch.token_ids_BT.tolist() == [[5, 6, 99], [7, 8, 9]]
    assert batch.loss_mask_BT.tolist() == [[False, True, False], [False, False, True]]
    assert batch.lengths_B.tolist() == [2, 3]
