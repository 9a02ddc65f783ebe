"""``python -m uarch``."""

from uarch.cli import main

if __name__ == "__main__":
    main()
