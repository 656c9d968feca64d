"""Exceptions for users' mistakes: the program prints three short texts and no traceback."""

import functools
import re


class UserError(Exception):
    """A mistake that the user can correct.

    `mistake` is one sentence such as "Unknown key `sigma` in config/mine.yaml.", `came` is the
    value or file that was found, and `do` is the advice. `status` is the program's exit status.
    """

    status = 1

    def __init__(self, mistake: str, *, came: str, do: str):
        self.mistake, self.came, self.do = map(without_secrets, (mistake, came, do))
        super().__init__(f"{self.mistake}\n  found: {self.came}\n  to do: {self.do}")

    def __reduce__(self) -> tuple:
        """Let another process raise the error here."""
        return functools.partial(type(self), came=self.came, do=self.do), (self.mistake,)


class ConfigError(UserError, ValueError):
    """A mistake in a value of the configuration; also a `ValueError`, which pydantic collects."""


_SECRETS = (
    r"(//)[^\s/?#]*@",  # a user name and password
    r"(//)[^\s/?#:]*:(?!\d*(?:[/?#\s]|$))\S*@",  # a password with `/`, `?` or `#`; not a port
    r"(^|[\s\"'\[(`,])[^\s/:\"'\[(`,]+:[^\s/]+@",  # an address that lacks `https://`
    r"(//[^\s?#]*)[?#]\S*",  # the query
    r"()\?[^\s=]*=\S*",  # the query of a relative address
)


def without_secrets(text: str) -> str:
    """Remove user names, passwords and queries from the addresses in a text.

    Examples
    --------
    >>> without_secrets("https://me:secret@mirror.org/kodak?token=secret was interrupted")
    'https://mirror.org/kodak was interrupted'
    """
    return functools.reduce(lambda rest, pattern: re.sub(pattern, r"\1", rest), _SECRETS, text)
