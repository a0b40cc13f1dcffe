"""What people read of a preview."""

from __future__ import annotations

from typing import Any

import pytest

from wcp360.cli.diffs import print_preview

UNCHECKED = {"resource": "domain:a.test", "changed": False, "failed": False, "not_checked": "PHP is not there yet."}


@pytest.mark.parametrize(("items", "said"), [([], True), ([UNCHECKED], False)])
def test_nothing_would_change_only_where_that_is_known(
    items: list[dict[str, Any]], said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    print_preview(
        {"id": "X", "operation": "domain.update", "status": "succeeded", "changed": False, "items": items}, shown=False
    )
    assert ("Nothing would change." in capsys.readouterr().out) is said
