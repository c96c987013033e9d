"""Runs `route` from a checkout: `python cli.py "prompt"`."""

from router.commands import main

if __name__ == "__main__":
    main()
