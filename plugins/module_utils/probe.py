"""Ask a web server on this machine, by Host header, whether the right virtual host answers with the right digest."""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import Any

from ansible_collections.wcp360.hosting.plugins.module_utils.items import ItemResult

HEADER = "X-Wcp360-Site"
# One request; the whole wait is the module's own timeout.
REQUEST_SECONDS = 5.0
PAUSE_SECONDS = 0.02


class Prober:
    """Asks over one kept connection per address until the answer is right or the time is over."""

    def __init__(self, addresses: list[str], port: int, seconds: float) -> None:
        self.addresses = addresses
        self.port = port
        self.deadline = time.monotonic() + seconds
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def probe(self, item: dict[str, Any]) -> ItemResult:
        """Return the item's result; it fails with what answered instead."""
        result = ItemResult(item["id"])
        for address in self.addresses:
            problem = self._problem(address, item)
            while problem and time.monotonic() < self.deadline:
                time.sleep(PAUSE_SECONDS)
                problem = self._problem(address, item)
            if problem:
                result.fail(problem)
                return result
        return result

    def _problem(self, address: str, item: dict[str, Any]) -> str:
        asked = f"{item['host']} on {address} port {self.port}"
        try:
            status, site = self._ask(address, item["host"], item["path"])
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, ConnectionRefusedError) and not item["expect_site"] and not item["expect_status"]:
                return ""  # where nobody listens, the site that is to be gone is not served
            return f"{asked} does not answer: {error or type(error).__name__}. Look at the web server's error log."
        wanted = item["expect_site"]
        if wanted and site != wanted:
            return f"{asked} is answered by {site or 'something that is not one of our sites'} instead of {wanted}."
        if not wanted and site.split(":")[0] == item["host"]:
            return f"{asked} is still answered by the site that was removed."
        if item["expect_status"] and status not in item["expect_status"]:
            return f"{asked} is answered with status {status} instead of {', '.join(map(str, item['expect_status']))}."
        return ""

    def _ask(self, address: str, host: str, path: str) -> tuple[int, str]:
        try:
            return self._request(address, host, path)
        except (OSError, http.client.HTTPException):
            # The server may have closed a kept connection; a new one tells whether it is there.
            return self._request(address, host, path)

    def _request(self, address: str, host: str, path: str) -> tuple[int, str]:
        connection = self._connections.pop(address, None)
        if connection is None:
            connection = http.client.HTTPConnection(address, self.port, timeout=REQUEST_SECONDS)
        try:
            connection.request("GET", path, headers={"Host": host, "User-Agent": "wcp360-probe"})
            with connection.getresponse() as response:
                response.read()
                found = response.status, response.headers.get(HEADER, "")
        except BaseException:
            connection.close()
            raise
        self._connections[address] = connection
        return found

    def close(self) -> None:
        """Close the kept connections."""
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.close()
