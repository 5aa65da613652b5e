"""``python -m covsvc``."""

from covsvc.cli import main

if __name__ == "__main__":
    main()
