"""The program: ``covsvc``, ``python -m covsvc``."""

import faulthandler
import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly while it is read, too."""
    if sys.stderr is not None:
        faulthandler.enable()  # says where a plug-in crashed that works in this process
    try:
        from covsvc.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
