"""The command's first step, before anything else is imported: ``neosocksd``, or ``python -m neosocksd_core``."""

import gc
import sys


def main() -> int:
    """Run the command; returns its exit status.

    The collector rests until a server runs (:mod:`neosocksd_core.serving`): nothing that starting up makes is garbage, and
    going through it again and again is an eighth of what ``neosocksd --help`` costs.
    """
    gc.disable()
    from neosocksd_core.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
