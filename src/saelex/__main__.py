"""`python -m saelex` is `saelex`."""

from saelex.cli import main

main()
