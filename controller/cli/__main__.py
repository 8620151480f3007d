"""`python -m controller.cli` is `weft`."""

from controller.cli import main

if __name__ == "__main__":
    main()
