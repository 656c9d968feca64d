"""Exceptions for users' mistakes: the program prints three short texts and no traceback."""

import functools


class UserError(Exception):
    """A mistake that the user can correct.

    `mistake` is one sentence such as "Unknown key `sigma` in config/mine.yaml.", `came` is the
    value or file that was found, and `do` is the advice. `status` is the program's exit status.
    """

    status = 1

    def __init__(self, mistake: str, *, came: str, do: str):
        self.mistake, self.came, self.do = mistake, came, do
        super().__init__(f"{mistake}\n  found: {came}\n  to do: {do}")

    def __reduce__(self) -> tuple:
        """Let another process raise the error here."""
        return functools.partial(type(self), came=self.came, do=self.do), (self.mistake,)


class ConfigError(UserError, ValueError):
    """A mistake in a value of the configuration; also a `ValueError`, which pydantic collects."""
