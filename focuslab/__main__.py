"""`python -m focuslab`."""

from focuslab.cli import main

main()
