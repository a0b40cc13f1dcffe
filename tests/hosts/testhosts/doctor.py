"""Can hosts be had here? Says what would be used, what is missing and what to install."""

from __future__ import annotations

import json
import shutil

from . import image
from .common import HostsError, cache_dir
from .engine import find_engine


def findings() -> dict[str, object]:
    """What was found; `usable` decides, `reason` says why not."""
    found: dict[str, object] = {"usable": False, "reason": "", "cache": str(cache_dir())}
    if not shutil.which("ssh-keygen"):
        found["reason"] = "ssh-keygen is not installed: install openssh-client"
        return found
    try:
        engine = find_engine()
    except HostsError as error:
        found["reason"] = str(error)
        return found
    present = {flavour: engine.has_image(image.tag(flavour)) for flavour in image.RECIPES}
    found.update(
        usable=True,
        engine=engine.name,
        runtime=engine.runtime or "default",
        rootless=engine.rootless,
        reached="own address" if engine.direct else "ports published on 127.0.0.1",
        built_with="debootstrap" if image.can_debootstrap() else "a registry's debian:12 and debian:13",
        images={image.tag(flavour): "present" if here else "to be built" for flavour, here in present.items()},
    )
    return found


def report(*, as_json: bool) -> int:
    """Print the findings; 0 when hosts can be had."""
    found = findings()
    if as_json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key:12} {value}")
    return 0 if found["usable"] else 1
