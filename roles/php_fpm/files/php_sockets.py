# MIT License (see LICENSE)
"""Start the sockets of all pools that start at boot.

``php_sockets.py DIRECTORY``: called by a unit at boot. A pool starts at boot while there is a file DIRECTORY/POOL/boot;
links in sockets.target.wants would make systemd read all its units again whenever one comes or goes.
"""

from __future__ import annotations

import os
import subprocess
import sys

# Units of one call of systemctl.
MOST_AT_ONCE = 50


def main(directory: str) -> int:
    """Start them; returns 1 if systemctl refused one."""
    names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    failed = 0
    for start in range(0, len(names), MOST_AT_ONCE):
        part = [name for name in names[start : start + MOST_AT_ONCE] if os.path.exists(f"{directory}/{name}/boot")]
        if part:
            argv = ["systemctl", "--quiet", "start", "--", *(f"wcp360-php@{name}.socket" for name in part)]
            failed |= subprocess.run(argv, check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
