import json

import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import DataConfig
from rlsys.data.load import Demonstration
from rlsys.data.mixture import Mixture, build_source, probabilities, with_fractions
from rlsys.data.report import Loaded, Report
from rlsys.data.stream import Stream
from rlsys.errors import DataError
from rlsys.samples import Prompt

SIZES = (30, 10, 2)


def mixture(seed: int = 0, shares: tuple[float, ...] = (0.5, 0.3, 0.2), sizes: tuple[int, ...] = SIZES) -> Mixture:
    rows = [
        [Demonstration(f"{name}{i}", (0, 1), (0, 1)) for i in range(size)]
        for name, size in zip("abc", sizes, strict=True)
    ]
    return Mixture([Stream(found, seed, True) for found in rows], shares, ["a", "b", "c"], seed)


def ids(rows: list[Demonstration]) -> list[str]:
    return [row.row_id for row in rows]


@pytest.mark.parametrize(
    ("sizes", "temperature", "wanted"),
    [
        ((90, 10), 1.0, (0.9, 0.1)),
        ((90, 10), 2.0, (0.75, 0.25)),  # square roots are as 3 to 1
        ((160_000, 10_000, 625), 4.0, (4 / 7, 2 / 7, 1 / 7)),  # fourth roots are 20, 10, 5
        ((8, 1), 0.5, (64 / 65, 1 / 65)),
        ((1e9, 1), 0.01, (1, 0)),  # does not overflow
    ],
)
def test_probabilities(sizes: tuple[float, ...], temperature: float, wanted: tuple[float, ...]):
    assert probabilities(sizes, temperature) == pytest.approx(wanted)


def test_a_set_with_a_fraction_has_it_whatever_the_sizes():
    """A fifth is of the second set; of the other four fifths, 90 rows and 10 have 0.72 and 0.08."""
    assert with_fractions((90, 7, 10), (None, 0.2, None), 1.0) == pytest.approx((0.72, 0.2, 0.08))
    assert with_fractions((90, 10), (None, 0.5), 4.0) == pytest.approx((0.5, 0.5))


def test_the_set_of_a_draw_depends_on_seed_and_number_alone():
    sets = [row_id[0] for row_id in ids(mixture().take(3000))]
    pieces, other_sizes = mixture(), mixture(sizes=(5, 5, 5))
    assert [row_id[0] for size in (1, 2, 2997) for row_id in ids(pieces.take(size))] == sets
    assert [row_id[0] for row_id in ids(other_sizes.take(3000))] == sets
    assert [row_id[0] for row_id in ids(mixture(seed=1).take(3000))] != sets
    for name, share in zip("abc", (0.5, 0.3, 0.2), strict=True):
        assert abs(sets.count(name) / 3000 - share) < 0.04  # more than 4 standard deviations


def test_every_set_goes_through_its_rows_epoch_by_epoch():
    taken = [row_id for row_id in ids(mixture().take(300)) if row_id[0] == "b"]
    for start in range(0, len(taken) - 9, 10):
        assert len(set(taken[start : start + 10])) == 10


def test_a_restored_mixture_goes_on_exactly():
    whole = mixture()
    whole.take(37)
    saved = json.loads(json.dumps(whole.state()))
    after = mixture()
    after.restore(saved)
    assert ids(after.take(200)) == ids(whole.take(200))
    assert after.balance() == whole.balance()
    with pytest.raises(DataError, match="does not fit the mixture: it was for"):
        mixture(shares=(0.4, 0.4, 0.2)).restore(saved)
    with pytest.raises(DataError, match=r"it was for \{'rows': 10\}, now there is \{'rows': 11\}"):
        mixture(sizes=(30, 11, 2)).restore(saved)


def test_balance():
    mixed = mixture()
    sets = [row_id[0] for row_id in ids(mixed.take(50))]
    assert mixed.balance() == [
        {"name": name, "rows": size, "share": share, "drawn": sets.count(name), "epochs": sets.count(name) / size}
        for name, size, share in zip("abc", SIZES, (0.5, 0.3, 0.2), strict=True)
    ]


def loaded(rows: int) -> Loaded[Prompt]:
    return Loaded([Prompt(f"train:{i}", "", (1,)) for i in range(rows)], Report("x", "train"))


def test_the_source_of_a_config():
    def dataset(**settings) -> DatasetConfig:
        return DatasetConfig(path="x", **settings)

    alone = build_source([loaded(5)], DataConfig(train=dataset(), shuffle=False), 0)
    assert [prompt.prompt_id for prompt in alone.take(3)] == ["train:0", "train:1", "train:2"]
    data = DataConfig(train=dataset(), also=(dataset(weight=4.5),), mix_temperature=2)
    mixed = build_source([loaded(8), loaded(16)], data, 0)
    assert isinstance(mixed, Mixture)
    assert [one["share"] for one in mixed.balance()] == pytest.approx([0.25, 0.75])  # 8 to 72, so 1 to 3
    assert [one["name"] for one in mixed.balance()] == ["0/x:train", "1/x:train"]
    prompts = mixed.take(100)
    assert len({(prompt.prompt_id, prompt.epoch) for prompt in prompts}) == 100
    assert {prompt.prompt_id for prompt in prompts} == {
        *(f"0/train:{i}" for i in range(8)),
        *(f"1/train:{i}" for i in range(16)),
    }
