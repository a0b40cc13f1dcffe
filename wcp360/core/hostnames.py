"""Host names: what a tenant may call its own.

Normal form: lower case, NFC, A-labels (IDNA 2008, RFC 5891, by the ``idna`` package with the UTS 46 mapping), letters,
digits and hyphens in labels of at most 63 octets, 253 octets in all (RFC 1035 section 2.3.4, without the final dot).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import idna
from publicsuffixlist import PublicSuffixList

MAX_LENGTH = 253
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)

# RFC 6761 and its registry, RFC 6762 (local), RFC 7686 (onion), RFC 8375 (home.arpa), RFC 9476 (alt), and ICANN's
# reservation of internal; .test and .example stay usable because people try things out with them.
SPECIAL_USE = frozenset({"local", "localhost", "localdomain", "invalid", "onion", "alt", "arpa", "internal", "lan"})


def normalise_hostname(value: str) -> str:
    """Return the normal form of a host name, or raise ValueError with a sentence that says what is wrong with it."""
    name = _to_ascii(value)
    labels = name.split(".")
    if len(name) > MAX_LENGTH:
        raise ValueError(f"A domain name has at most {MAX_LENGTH} octets; this one has {len(name)}.")
    if len(labels) < 2:
        raise ValueError("A domain name needs at least two labels, as in example.com.")
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            raise ValueError(f"The label {label!r} is not valid: use 1 to 63 letters, digits and inner hyphens.")
    _refuse_reserved(name, labels[-1])
    return name


def normalise_domain(value: str) -> str:
    """Like ``normalise_hostname``, and refuse a public suffix (https://publicsuffix.org)."""
    name = normalise_hostname(value)
    if _suffixes().privatesuffix(name) is None:
        raise ValueError(f"{name} is a public suffix, under which anybody registers names; give a name below it.")
    return name


def is_within(name: str, parent: str) -> bool:
    """Tell whether ``name`` is ``parent`` or lies below it."""
    return name == parent or name.endswith("." + parent)


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _to_ascii(value: str) -> str:
    text = unicodedata.normalize("NFC", value)
    if text.isascii():
        name = text.lower()
        if "xn--" in name:
            _check_a_labels(name)
        return name
    for label in text.split("."):
        _refuse_mixed_scripts(label)
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{value!r} is not a valid internationalised domain name: {error}.") from error


def _check_a_labels(name: str) -> None:
    for label in name.split("."):
        if label.startswith("xn--"):
            try:
                _refuse_mixed_scripts(idna.ulabel(label))
            except idna.IDNAError as error:
                raise ValueError(f"The label {label!r} is not valid punycode: {error}.") from error


def _refuse_mixed_scripts(label: str) -> None:
    """Refuse labels that mix look-alike alphabets (UTS 39 section 5.1, for the three that share letter shapes)."""
    scripts = {unicodedata.name(char, "?").split(" ")[0] for char in label if char.isalpha()}
    mixed = scripts & {"LATIN", "CYRILLIC", "GREEK"}
    if len(mixed) > 1:
        raise ValueError(f"The label {label!r} mixes alphabets ({', '.join(sorted(mixed)).title()}); use one of them.")


def _refuse_reserved(name: str, top: str) -> None:
    if top in SPECIAL_USE:
        raise ValueError(f"Names under .{top} are reserved for special use (RFC 6761) and cannot be served.")
    if top.isdigit() or re.fullmatch(r"0x[0-9a-f]*", top, re.ASCII):
        raise ValueError(f"{name} ends in a number, which makes it an address and not a domain name.")
