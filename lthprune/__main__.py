"""``python -m lthprune`` is the command ``lthprune``."""

from lthprune_cli.main import main

if __name__ == "__main__":
    main()
