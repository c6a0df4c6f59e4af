import pytest
import torch

from rlsys.objectives.length_penalty import soft_overlong


def test_by_hand():
    # Limit 20, buffer 4: free up to 16, then a quarter per token, -1 from 20 on.
    lengths = torch.tensor([0, 15, 16, 17, 18, 19, 20, 25])
    assert soft_overlong(lengths, max_length=20, buffer=4).tolist() == [0, 0, 0, -0.25, -0.5, -0.75, -1, -1]


@pytest.mark.parametrize("buffer", [0, 21])
def test_buffer_out_of_range(buffer: int):
    with pytest.raises(ValueError, match="overlong buffer"):
        soft_overlong(torch.tensor([1]), max_length=20, buffer=buffer)
