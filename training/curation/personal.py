"""Personal data in texts, found by pattern and checksum and replaced by what it was, as <EMAIL>.

No language model looks: a name without words around it that say so is not found.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

import tldextract
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    DeTaxIdRecognizer,
    EmailRecognizer,
    EsNieRecognizer,
    EsNifRecognizer,
    FiPersonalIdentityCodeRecognizer,
    IbanRecognizer,
    InAadhaarRecognizer,
    IpRecognizer,
    ItFiscalCodeRecognizer,
    MacAddressRecognizer,
    NhsRecognizer,
    PhoneRecognizer,
    PlPeselRecognizer,
    SgFinRecognizer,
    UkNinoRecognizer,
    UsItinRecognizer,
    UsSsnRecognizer,
)
from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import RecognizerResult as Found

from training.rows import Row


class Personal(StrEnum):
    """Kinds of personal data; each is replaced by its name in angle brackets."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"
    CARD = "CARD"
    IBAN = "IBAN"
    IP = "IP"
    MAC = "MAC"
    WALLET = "WALLET"
    NATIONAL_ID = "NATIONAL_ID"
    PASSPORT = "PASSPORT"
    BIRTH_DATE = "BIRTH_DATE"
    ADDRESS = "ADDRESS"
    PERSON = "PERSON"
    SECRET = "SECRET"


# Presidio's scores: 0.4 is a phone number by the rules of its country, 0.5 and more are patterns
# that little else has, 1 a checksum that holds; below are patterns that need a context.
_LEAST_SCORE = 0.4
_LARGEST_SECTION = 32
_FEWEST_DIGITS = 10
# Characters before a bare number in which a word has to say what it is.
_CONTEXT = 40

_STRICT_GROUPING = 2  # of phonenumbers: digits stand in groups as the country writes them

_STREETS = "Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Dr|Court|Boulevard|Blvd|Square|Terrace|Crescent"
_DATE = r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}\.? \w{3,9} \d{4}|\w{3,9} \d{1,2},? \d{4})"
_OWN = {
    Personal.SECRET: (
        r"\b(?:sk|pk|rk)[-_][\w-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{30,}|\bxox[abp]-[\w-]{20,}"
        r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
        r"|(?<=\b(?i:password|passwort|passcode|PIN)(?: is|:| =|=) ?)[^\s,;]{4,}"
    ),
    Personal.BIRTH_DATE: (rf"(?<=\b(?i:born|date of birth|DOB|birthday)(?: is|:| on)? ?){_DATE}"),
    Personal.PASSPORT: (
        r"(?<=\b(?i:passport)(?: (?i:no|nr|number))?\.?(?: is|:)? ?)[A-Z]{0,2}\d{6,9}\b"
    ),
    Personal.ADDRESS: rf"\b\d{{1,5}}[a-z]? (?:[A-Z][a-z'-]+ ){{1,3}}(?:{_STREETS})\b",
    Personal.PERSON: (
        r"(?<=\b(?:(?i:my name is|my name's|i am called|signed by)|(?:Mr|Mrs|Ms)\.?|MRS?\.) )"
        r"[A-Z][\w'-]+(?: [A-Z][\w'-]+){0,2}"
    ),
}


class _Email(EmailRecognizer):
    # Presidio's own would fetch the list of domains from the network.
    _domains = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    def validate_result(self, pattern_text: str) -> bool:
        return bool(self._domains(pattern_text).suffix)


class Scrubber:
    """Finds and replaces. Takes seconds to make; its calls share nothing."""

    def __init__(self) -> None:
        self._recognisers = [
            (recogniser, kind) for kind, some in _recognisers().items() for recogniser in some
        ]
        self._engine = AnonymizerEngine()  # type: ignore[no-untyped-call]

    def scrub(self, text: str) -> tuple[str, Counter[Personal]]:
        """The text with placeholders, and how many of which kind."""
        found = [
            Found(str(kind), hit.start, hit.end, hit.score)
            for recogniser, kind in self._recognisers
            for hit in _hits(recogniser, text)
            if _counts(text, hit, recogniser, kind)
        ]
        if not found:
            return text, Counter()
        result = self._engine.anonymize(text, found)
        return result.text, Counter(Personal(item.entity_type) for item in result.items)

    def scrub_row(self, row: Row) -> tuple[Row, Counter[Personal]]:
        """A row with placeholders in its prompt and its answers."""
        counts: Counter[Personal] = Counter()

        def clean(text: str) -> str:
            scrubbed, found = self.scrub(text)
            counts.update(found)
            return scrubbed

        prompt = tuple((role, clean(text)) for role, text in row.prompt)
        rejected = None if row.rejected is None else clean(row.rejected)
        return replace(row, prompt=prompt, answer=clean(row.answer), rejected=rejected), counts


def _recognisers() -> dict[Personal, Iterable[EntityRecognizer]]:
    presidio: dict[Personal, Iterable[EntityRecognizer]] = {
        Personal.EMAIL: [_Email()],
        Personal.PHONE: [PhoneRecognizer(leniency=_STRICT_GROUPING)],
        Personal.CARD: [CreditCardRecognizer()],
        Personal.IBAN: [IbanRecognizer()],
        Personal.IP: [IpRecognizer()],
        Personal.MAC: [MacAddressRecognizer()],
        Personal.WALLET: [CryptoRecognizer()],
        Personal.NATIONAL_ID: [
            UsSsnRecognizer(),
            UsItinRecognizer(),
            UkNinoRecognizer(),
            NhsRecognizer(),
            EsNifRecognizer(),
            EsNieRecognizer(),
            ItFiscalCodeRecognizer(),
            DeTaxIdRecognizer(),
            PlPeselRecognizer(),
            FiPersonalIdentityCodeRecognizer(),
            InAadhaarRecognizer(),
            SgFinRecognizer(),
        ],
    }
    return presidio | {
        kind: [
            PatternRecognizer(str(kind), patterns=[Pattern(kind, regex, 0.6)], global_regex_flags=0)
        ]
        for kind, regex in _OWN.items()
    }


def _hits(recogniser: EntityRecognizer, text: str) -> Iterable[RecognizerResult]:
    entities = recogniser.supported_entities
    # Patterns do without what a language model makes of the text.
    return recogniser.analyze(text, entities, None) or ()  # type: ignore[arg-type]


def _counts(text: str, hit: RecognizerResult, recogniser: EntityRecognizer, kind: Personal) -> bool:
    """Whether a hit is taken for personal data."""
    value = text[hit.start : hit.end]
    if hit.score < _LEAST_SCORE:
        return False
    if kind is Personal.IP:
        return _is_public(value)
    if kind is Personal.PHONE and value[0] not in "+(0":
        # Without a prefix, short numbers are others' as often, as in 3000/1000.
        digits = sum(map(str.isdigit, value))
        return digits >= _FEWEST_DIGITS and (not value.isdigit() or _named(text, hit, recogniser))
    if kind in (Personal.NATIONAL_ID, Personal.PHONE) and value.isdigit():
        # Every tenth number of any kind passes a checksum of one digit.
        return _named(text, hit, recogniser)
    return True


def _named(text: str, hit: RecognizerResult, recogniser: EntityRecognizer) -> bool:
    """Whether one of the recogniser's context words stands shortly before a number."""
    before = text[max(0, hit.start - _CONTEXT) : hit.start].lower()
    return any(word in before for word in recogniser.context or ())


def _is_public(value: str) -> bool:
    """Addresses of examples, of private networks and of the machine itself name nobody; four small
    numbers are a section's."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    is_section = address.version == 4 and max(address.packed) < _LARGEST_SECTION
    return address.is_global and not address.is_multicast and not is_section
