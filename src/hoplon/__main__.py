"""`python -m hoplon` is the command line."""

from .cli import main

main()
