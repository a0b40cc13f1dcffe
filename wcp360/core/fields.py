"""The field types of inputs: each refuses at the edge what a service behind it could misread.

All text is checked for control characters, lone surrogates and bidirectional controls first: none of them belongs in
a name, and they forge terminal output and Ansible events.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from wcp360.core.hostnames import normalise_domain, normalise_hostname
from wcp360.core.ids import ULID_PATTERN
from wcp360.core.sshkeys import normalise_key

# Unicode's explicit direction controls (UAX 9): they reorder what a reader sees.
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Accounts of Debian's base-passwd, of packages that hosting uses, groups that amount to root, and the panel's roles.
RESERVED_NAMES = frozenset(
    re.findall(
        r"\S+",
        """
        adm admin administrator all amavis anonymous apache apt audio avahi backup bin bind cdrom clamav client clock
        colord crontab daemon dbus debian dialout dip disk docker dovecot dovenull everyone fax floppy ftp games git
        gnats group guest halt home input irc kmem kvm libvirt list localhost login lp lxd mail man mariadb memcached
        messagebus mysql netdev network news nginx nobody nogroup nologin none ntp null opendkim opendmarc operator
        pdns php plugdev podman polkitd postfix postgres postmaster powerdns proftpd proxy public redis render reseller
        restic root rspamd sasl service sgx shadow shutdown spamd src ssh sshd ssl staff sudo support sync sys syslog
        system systemd tape tomcat tty user users utmp uucp uuidd vagrant varnish video vmail voice wcp360 web
        webmaster wheel www wwwdata
        """,
    )
)


def clean_text(value: str) -> str:
    """Return ``value``, or raise ValueError if it holds a character that no name or sentence needs."""
    for char in value:
        if unicodedata.category(char) in ("Cc", "Cs") or char in BIDI_CONTROLS or char in "\u2028\u2029":
            raise ValueError(f"The character U+{ord(char):04X} is not allowed here.")
    return value


def _tenant_name(value: str) -> str:
    if re.fullmatch(r"[a-z][a-z0-9]{2,15}", value, re.ASCII) is None:
        raise ValueError("Use 3 to 16 lower-case letters and digits, a letter first.")
    if value in RESERVED_NAMES:
        raise ValueError(f"{value!r} is reserved for the system; choose another name.")
    return value


def _node_name(value: str) -> str:
    if re.fullmatch(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?", value, re.ASCII) is None:
        raise ValueError("Use up to 32 lower-case letters, digits and inner hyphens, a letter first.")
    return value


def _display_name(value: str) -> str:
    clean_text(value)
    if value != value.strip():
        raise ValueError("Leave out the space at the start or the end.")
    if value[:1] in ("=", "+", "-", "@") or any(mark in value for mark in '<>"\\') or "${" in value:
        raise ValueError('Leave out < > " \\ and ${, and do not start with = + - or @.')
    return value


def _document_root(value: str) -> str:
    if any(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", part, re.ASCII) is None for part in value.split("/")):
        raise ValueError(
            "Give a path below the domain's directory, as in public or app/public: letters, digits, dots, hyphens and "
            "underscores, parted by single slashes, no part with a dot first."
        )
    return value


# RFC 3986 without the characters that nginx or a template could take for its own; they can be percent-encoded.
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-]{1,2000}", re.ASCII)


def _redirect_url(value: str) -> str:
    if value == "":
        return value
    if _URL.fullmatch(value) is None or re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise ValueError("Give a URL in ASCII; percent-encode spaces, quotes, braces, $ and backslashes.")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"This is not a URL: {error}.") from error
    if parts.scheme not in ("http", "https") or parts.username is not None or not host:
        raise ValueError("Give an absolute URL with http or https and a host, without a user name.")
    _check_public_host(host)
    return value


def _check_public_host(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        normalise_hostname(host)
        return
    if not address.is_global:
        raise ValueError(f"{host} is not a public address; redirects lead to public hosts only.")


def _host_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    labels = value.split(".")
    if len(value) > 253 or any(
        re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", x) is None for x in labels
    ):
        raise ValueError("Give an IP address or a host name.")
    return value.lower()


def _private_path(value: str) -> str:
    if value and re.fullmatch(r"/[A-Za-z0-9._/-]{1,250}", value, re.ASCII) is None:
        raise ValueError("Give an absolute path of letters, digits, dots, hyphens and underscores.")
    return value


def _moment(value: str) -> str:
    """Return a time as all times are kept: RFC 3339 in UTC with milliseconds, so that texts sort as times do."""
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=UTC) if len(value) == len("2026-11-22") else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("There is no such date or time.") from error
    return found.strftime("%Y-%m-%dT%H:%M:%S.") + f"{found.microsecond // 1000:03d}Z"


TenantName = Annotated[str, AfterValidator(_tenant_name)]
NodeName = Annotated[str, AfterValidator(_node_name)]
DomainName = Annotated[
    str, StringConstraints(max_length=1000), AfterValidator(clean_text), AfterValidator(normalise_domain)
]
DisplayName = Annotated[str, StringConstraints(max_length=100), AfterValidator(_display_name)]
DocumentRoot = Annotated[str, StringConstraints(max_length=200), AfterValidator(_document_root)]
RedirectUrl = Annotated[str, AfterValidator(_redirect_url)]
SshKey = Annotated[str, StringConstraints(max_length=4000), AfterValidator(normalise_key)]
HostAddress = Annotated[str, StringConstraints(max_length=253), AfterValidator(_host_address)]
AbsolutePath = Annotated[str, AfterValidator(_private_path)]
RecordId = Annotated[str, Field(pattern=f"^{ULID_PATTERN}$", min_length=26, max_length=26)]
Port = Annotated[int, Field(ge=1, le=65535)]
Limit = Annotated[int, Field(ge=1, le=1000)]
# SQLite's and PostgreSQL's 64-bit integers end at 2**63 - 1.
Sequence = Annotated[int, Field(ge=0, le=2**63 - 1)]
Cursor = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[A-Za-z0-9_-]*$")]
# A date, or a time with its distance from UTC: without one nobody knows which hour is meant.
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = rf"^{_DAY}(T[0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}(\.[0-9]{{1,6}})?)?(Z|[+-][0-9]{{2}}:[0-9]{{2}}))?$"
Moment = Annotated[str, StringConstraints(max_length=40, pattern=_TIME), AfterValidator(_moment)]
NamePart = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9._-]+$")]
OperationName = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z_]+$", max_length=64)]
# The names of tokens and users, as they stand in changes and in the audit log.
ActorName = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(clean_text)]
