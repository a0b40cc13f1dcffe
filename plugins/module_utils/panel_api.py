# SPDX-License-Identifier: MIT
"""The REST API of a panel, as far as an inventory needs it: pages of lists, read only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.urls import open_url

PAGE = 1000
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class PanelError(Exception):
    """A sentence: what went wrong, and what to do now."""


@dataclass(frozen=True)
class Place:
    """Where a panel is; ``socket`` is a path or empty, ``own`` says that no network is between."""

    url: str
    socket: str
    own: bool


def place_of(url: str) -> Place:
    """Read the option url. Raises PanelError for one that names no panel, or that would give the token away."""
    parts = urlsplit(str(url))
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return Place("http://localhost", parts.path, True)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.username is not None:
        raise PanelError(f"url is {url!r}; give https://HOST:PORT, http://127.0.0.1:PORT or unix:///PATH/OF/SOCKET.")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise PanelError(
            f"url is plain HTTP to {host}: the token would travel in clear text. Use https, or a tunnel "
            "(`ssh -L 8360:127.0.0.1:8360 HOST`) and http://127.0.0.1:8360."
        )
    shown = f"[{host}]" if ":" in host else host
    return Place(f"{parts.scheme}://{shown}" + (f":{port}" if port else ""), "", host in _LOOPBACK)


class PanelApi:
    """One panel, one token. ``timeout`` in seconds."""

    def __init__(self, place: Place, token: str, ca_file: str | None, timeout: int) -> None:
        if re.fullmatch(r"[A-Za-z0-9_-]{8,200}", token, re.ASCII) is None:
            raise PanelError("The token for the panel is none: it has only letters, digits, - and _.")
        self._place = place
        self._timeout = timeout
        self._ca_file = ca_file or None
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the elements of a list, page by page. Raises PanelError where an answer is none."""
        cursor = ""
        while True:
            page = self._get(f"{path}?{urlencode({'limit': PAGE} | ({'cursor': cursor} if cursor else {}))}")
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise PanelError(f"{self._place.url}{path} answers, but not as a panel does. Check url.")
            yield from page["items"]
            following = page.get("next")
            if following is None:
                return
            if not isinstance(following, str) or following == cursor:
                raise PanelError(f"{self._place.url}{path} answers the same page again and again.")
            cursor = following

    def _get(self, path: str) -> Any:
        where = self._place.socket or self._place.url
        try:
            answer = open_url(
                self._place.url + path,
                headers=self._headers,
                timeout=self._timeout,
                ca_path=self._ca_file,
                unix_socket=self._place.socket or None,
                # A proxy is for other machines, and nobody else may be handed the token.
                use_proxy=not self._place.own,
                follow_redirects="none",
                use_netrc=False,
            )
            return json.loads(answer.read())
        except HTTPError as error:
            raise PanelError(f"The panel at {where} refuses {path.partition('?')[0]}: {_detail(error)}") from error
        except ValueError as error:
            raise PanelError(
                f"{where} answers {path.partition('?')[0]}, but not as a panel does. Check url."
            ) from error
        except (OSError, HTTPException) as error:
            raise PanelError(
                f"The panel at {where} cannot be asked: {error}. Check url, and whether it runs."
            ) from error


def _detail(error: HTTPError) -> str:
    """Return what the problem document says, else the status."""
    try:
        said = json.loads(error.read())["detail"]
    except (ValueError, KeyError, TypeError, OSError):
        said = f"{error.code} {error.reason}"
    return str(said)
