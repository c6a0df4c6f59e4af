from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsys.config import yaml_file
from rlsys.errors import ConfigError


def read(tmp_path: Path, text: str):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return yaml_file.read(file)


def test_scalars_follow_yaml_1_2(tmp_path: Path):
    data, _ = read(tmp_path, "a: off\nb: no\nc: 1e-6\nd: 010\ne: 2026-01-02\nf: 12:30\ng: .inf\nh: ~\ni: '1'\nj: -.5\n")
    assert data == {
        "a": "off", "b": "no", "c": 1e-6, "d": 10, "e": "2026-01-02", "f": "12:30", "g": float("inf"), "h": None,
        "i": "1", "j": -0.5,
    }  # fmt: skip
    assert isinstance(data["d"], int)


def test_every_key_has_its_line(tmp_path: Path):
    _, lines = read(tmp_path, "# comment\na:\n  b: 1\n\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n")
    assert lines == {
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 5,
        ("a", "c", 0): 6,
        ("a", "c", 1): 7,
        ("a", "c", 1, "d"): 7,
        ("a", "c", 1, "e"): 8,
    }


def test_merged_keys_give_way_to_own_ones_and_keep_their_lines(tmp_path: Path):
    data, lines = read(tmp_path, "a: &base\n  x: 1\n  y: {z: 2}\nb:\n  y: 3\n  <<: *base\n")
    assert data["b"] == {"x": 1, "y": 3}
    assert (lines["b", "x"], lines["b", "y"]) == (2, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "{file}:4: b.c: given twice (first in line 3); remove one"),
        ("a: 1\nb: [1,\n", "{file}:3:1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: b: c\n", "{file}:1:5: not valid YAML: mapping values are not allowed here"),
        ("a:\n\t- b\n", "{file}:2:1: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: *b\n", "{file}:1:4: not valid YAML: found undefined alias 'b'"),
        ("a: &a [*a]\n", "{file}: not valid YAML: an alias contains itself"),
        ("", "{file}:1: wanted `key: value` lines, got an empty file"),
        ("- a\n", "{file}:1: wanted `key: value` lines, got ['a']"),
        ("{[1]: 2}\n", "{file}:1: a key must be text"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert str(error.value) == message.replace("{file}", str(tmp_path / "x.yaml"))


def test_missing_file_names_the_nearest(tmp_path: Path):
    (tmp_path / "quickstart.yaml").write_text("a: 1\n")
    with pytest.raises(
        ConfigError, match=rf"quickstrt\.yaml: no such file; did you mean {tmp_path}/quickstart\.yaml\?$"
    ):
        yaml_file.read(tmp_path / "quickstrt.yaml")


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
def test_what_is_dumped_is_read_back_equal(value: object):
    assert repr(yaml_file.parse_value(yaml_file.dump({"key": value}), "here")) == repr({"key": value})
