"""Personal data: what is found and replaced, and what is left alone."""

from collections import Counter

import pytest

from training.curation.personal import Personal, Scrubber
from training.rows import Row


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber()


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Write to jane.doe@acme-corp.co.uk.", "Write to <EMAIL>."),
        ("MÜLLER.K+x@firma.de", "<EMAIL>"),
        ("call +44 20 7946 0958", "call <PHONE>"),
        ("my number is (212) 736-5000, thanks", "my number is <PHONE>, thanks"),
        ("ring 07700 900123", "ring <PHONE>"),
        ("card 4111 1111 1111 1111 exp 12/27", "card <CARD> exp 12/27"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN <IBAN>"),
        ("from 81.2.69.142 yesterday", "from <IP> yesterday"),
        ("2a00:1450:4009:81f::200e did it", "<IP> did it"),
        ("device 00:1B:44:11:3A:B7", "device <MAC>"),
        ("send to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "send to <WALLET>"),
        ("SSN 536-90-4399", "SSN <NATIONAL_ID>"),
        ("my NINO is AB 12 34 56 C", "my NINO is <NATIONAL_ID>"),
        ("NHS number 943 476 5919", "NHS number <NATIONAL_ID>"),
        ("DNI 12345678Z", "DNI <NATIONAL_ID>"),
        ("passport number 512345678", "passport number <PASSPORT>"),
        ("born on 12/03/1984 in Leeds", "born on <BIRTH_DATE> in Leeds"),
        ("I live at 221b Baker Street, London", "I live at <ADDRESS>, London"),
        ("my name is Anna Kowalska and", "my name is <PERSON> and"),
        ("key sk-proj-abcdefghijklmnop123456", "key <SECRET>"),
        ("password: hunter2!", "password: <SECRET>"),
    ],
)
def test_what_names_somebody_is_replaced(scrubber: Scrubber, text: str, scrubbed: str) -> None:
    assert scrubber.scrub(text)[0] == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "order 1234567890 shipped",
        "ticket 94347659191",
        "version 10.0.0.1, example 192.0.2.7",
        "see section 8.1.1.7 of RFC 3261",
        "O-ring 12x3.5 at 9 bar since 2021-03-04",
        "3000/1000 = 3 and (95% CI 198.03-257.45 g)",
        "shall return all MS Software to Main Street",
        "",
    ],
)
def test_numbers_of_other_things_stay(scrubber: Scrubber, text: str) -> None:
    assert scrubber.scrub(text) == (text, Counter())


def test_a_row_is_scrubbed_in_prompt_and_answers(scrubber: Scrubber) -> None:
    row = Row((("user", "I am at a@b.com"),), "Mail a@b.com", rejected="Call +44 20 7946 0958")
    clean, counts = scrubber.scrub_row(row)
    assert (clean.question, clean.answer, clean.rejected) == (
        "I am at <EMAIL>",
        "Mail <EMAIL>",
        "Call <PHONE>",
    )
    assert counts == {Personal.EMAIL: 2, Personal.PHONE: 1}
