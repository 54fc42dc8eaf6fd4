"""`python -m posthouse.cli`: the `posthouse` command of this Python, wherever its script is installed."""

from posthouse.cli import main

if __name__ == "__main__":
    main()
