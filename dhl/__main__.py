"""`python -m dhl`."""

from dhl.cli.parser import program

program()
