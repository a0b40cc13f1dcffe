"""The entry point ``wcp360``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from wcp360.cli.exits import Exit, Failure
from wcp360.cli.safe import complain, safe

PROGRAM = "wcp360"


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line. Returns its exit code."""
    try:
        _dispatch(args)
    except Failure as failure:
        complain(failure.message)
        return int(failure.code)
    except KeyboardInterrupt:
        complain("Interrupted; what the server has accepted goes on.")
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) has gone; nothing more can be said, and Python's own flush at exit must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(Exit.FAILED if ended.code else Exit.OK)
    return int(Exit.OK)


def _dispatch(args: Sequence[str]) -> None:
    from wcp360.cli import commands, local, manifest, watch

    # Local commands work without a manifest: `init` must be able to run where the declarations are broken.
    alone = bool(args) and args[0] in local.NAMES and not os.environ.get("_WCP360_COMPLETE")
    if os.environ.get("_WCP360_COMPLETE"):
        from typer._completion_classes import completion_init

        completion_init()
    groups = {} if alone else commands.build_groups(manifest.load())
    watch.add_to(groups)
    program = commands.root(groups, local.build())
    try:
        program.main(list(args), prog_name=PROGRAM, standalone_mode=True)
    except Exception as error:
        if isinstance(error, Failure | BrokenPipeError) or os.environ.get("WCP360_DEBUG"):
            raise
        raise Failure(f"A fault of wcp360 itself: {safe(error)!r}. Please report it.", Exit.SERVER_FAULT) from error


if __name__ == "__main__":
    main()
