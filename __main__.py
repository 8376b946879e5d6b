"""`python -m personascope`: the terminal door."""

from personascope.cli import main

main()
