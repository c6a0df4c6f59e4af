"""Personal data: check digits by known numbers; precision and recall on a labelled set that is made here."""

from __future__ import annotations

import importlib.util
from collections import Counter
from random import Random

import pytest
from pydantic import ValidationError

from rlsys.curation.pii import RULES, Scanner, is_address, is_card, is_iban
from rlsys.curation.settings import PiiConfig, PiiKind

KINDS: tuple[PiiKind, ...] = ("email", "phone", "card", "iban", "ip", "secret")
SCANNER = Scanner(KINDS)
PLANTED: dict[PiiKind, tuple[str, ...]] = {
    "email": ("jane.doe@example.com", "j+tag_1@mail.example.co.uk", "ops@xn--bcher-kva.example", "a@b.io"),
    "phone": ("+1 202-555-0143", "(202) 555-0143", "202-555-0143", "+44 20 7946 0958", "030/1234567", "+4915112345678"),
    # Numbers that issuers publish for tests.
    "card": ("4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "6011111111111117", "30569309025904"),
    # Examples of the IBAN registry.
    "iban": ("GB29 NWBK 6016 1331 9268 19", "DE89370400440532013000", "FR1420041010050500013M02606", "NO9386011117947"),
    "ip": ("192.168.13.7", "8.8.8.8", "2001:db8:85a3::8a2e:370:7334", "fe80::1ff:fe23:4567:890a"),
    "secret": (
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "sk-proj-abcDEF123456ghiJKL789012",
        "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
        "xoxb-123456789012-abcdefghijkl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    ),
}
HARMLESS = (
    *("on 2024-01-15 at 10:30:45", "about 3.14159265358979", "1,234,567,890 people", "from 1990-1995", "x1 + x2 = 10"),
    # One digit off: neither Luhn nor modulo 97 holds.
    *("order 4111 1111 1111 1112", "GB28 NWBK 6016 1331 9268 19", "DE88370400440532013000"),
    *("version 1.2.3", "at 127.0.0.1 or ::1", "999.1.1.1", "ratio 16:9:4", "std::vector<int>", "10:20:30"),
    *("@jane wrote it", "a @ b", "5 @ 3.50 each", "the password is secret", "token: none", "key = value"),
    *("ISBN 978-3-16-148410-0", "18-2=<<18-2=16>>16", "$1,299.00 or 12 345", "Rev. 3:16", "the year 2024 2025"),
    *("0 1 1 2 3 5 8 13 21 34", "000000000000000000", "import os.path", "f(x)=1/2/3", "skill-building", "1/2 + 3/4"),
)
CARRIERS = (
    "Write to me: {} please.",
    "{}",
    "It was {}, I think.",
    "My data ({}) is private.",
    "Old:\n{}\nNew",
    "say '{}'",
)


def labelled() -> list[tuple[str, str, str]]:
    """Texts, the kind of what is in each (none: an empty text), and what it is."""
    found = [
        (carrier.format(one), str(kind), one) for kind, own in PLANTED.items() for one in own for carrier in CARRIERS
    ]
    found += [(carrier.format(one), "", "") for one in HARMLESS for carrier in CARRIERS]
    Random(0).shuffle(found)
    return found


def test_precision_and_recall_on_a_labelled_set():
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    for text, kind, planted in labelled():
        found = [(one.kind, text[one.start : one.end]) for one in SCANNER.find(text)]
        hit = [one for one in found if one[0] == kind and one[1] == planted]
        right.update(one[0] for one in hit)
        wrong.update(one[0] for one in found if one not in hit)
        missed.update([kind] if kind and not hit else [])
    for kind in KINDS:
        precision, recall = right[kind] / (right[kind] + wrong[kind]), right[kind] / (right[kind] + missed[kind])
        assert (precision >= 0.95, recall >= 0.95) == (True, True), (kind, precision, recall)


@pytest.mark.parametrize(
    ("number", "fine"), [("79927398713", False), ("4539578763621486", True), ("4539578763621487", False)]
)
def test_luhn(number: str, fine: bool):
    """The first has Luhn's digit (the example of ISO/IEC 7812), and no issuer's length."""
    assert is_card(number) is fine


def test_iban_and_addresses():
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert not is_iban("GB82 WEST 1234 5698 7654 23")
    assert is_address("2001:db8::1")
    assert not is_address("256.1.1.1")


def test_what_is_found_is_replaced_by_its_kind_everywhere():
    row = {
        "prompt": "I am jane@example.com",
        "messages": [{"role": "user", "content": "Call 202-555-0143"}],
        "card": 4111111111111111,
        "a@b.io": 1,
        "score": 12345678901234,
        "flag": True,
    }
    counts = Counter[str]()
    assert SCANNER.redacted(row, counts) == {
        "prompt": "I am [EMAIL]",
        "messages": [{"role": "user", "content": "Call [PHONE]"}],
        "card": "[CARD]",
        "[EMAIL]": 1,
        "score": 12345678901234,
        "flag": True,
    }
    assert counts == {"email": 2, "phone": 1, "card": 1}


def test_a_named_secret_must_look_like_one():
    assert [one.kind for one in SCANNER.find("password: hunter2hunter9xQ")] == ["secret"]
    assert SCANNER.find("the password was forgotten") == []
    text = "see https://bob:s3cr3tPw@db.example.com/x"
    (found,) = SCANNER.find(text)
    assert (found.kind, text[found.start : found.end]) == ("secret", "bob:s3cr3tPw")


def test_a_filter_never_hides_what_its_pattern_finds():
    for rule in RULES:
        for own in PLANTED[rule.kind]:
            text = f"it is {own} now"
            assert rule.possible(text) or not rule.pattern.search(text), (rule.kind, own)


@pytest.mark.skipif(importlib.util.find_spec("presidio_analyzer") is not None, reason="Presidio is installed")
def test_names_say_what_they_need():
    with pytest.raises(ValidationError, match=r"pip install 'rlsys\[pii\]'"):
        PiiConfig.model_validate({"kinds": ["name"]})
