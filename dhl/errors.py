"""Exceptions for users' mistakes: the program prints three short texts and no traceback."""

import errno
import functools
import re
import sys


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


def system_error(error: OSError) -> UserError:
    """Return the error for a file or folder that the system does not let the program use."""
    name = error.filename2 or error.filename or "a file"
    return UserError(
        f"The system does not let dhl use {name}.",
        came=f"{error.filename or name}: {error.strerror or error}",
        do=advice(error),
    )


def missing_extra(package: str, extra: str) -> UserError:
    """Return the error that a package of an extra of this project is not installed."""
    return UserError(
        f"A network or its weights need the extra `{extra}` of this project.",
        came=f"no {package} in {sys.prefix}",
        do="in the checkout of this project: "
        f"{sys.executable} -m pip install -c constraints.txt -e '.[{extra}]'; "
        "docs/networks.md names the licences.",
    )


def advice(error: OSError) -> str:
    """Say what to do about an error of the system."""
    return _ADVICE.get(error.errno or 0, "check the path and the disk, and run the command again.")


_FOLDER_OR_FILE = "rename it: a folder is where a file belongs, or a file where a folder does."
_PERMISSION = "name another file or folder, or make this one accessible."
_SPACE = "free some space and run the same command again; complete files are kept."
_ADVICE = {
    errno.EISDIR: _FOLDER_OR_FILE, errno.ENOTDIR: _FOLDER_OR_FILE, errno.EEXIST: _FOLDER_OR_FILE,
    errno.ENOTEMPTY: _FOLDER_OR_FILE,
    errno.EACCES: _PERMISSION, errno.EPERM: _PERMISSION, errno.EROFS: _PERMISSION,
    errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE,
    errno.ENAMETOOLONG: "use a shorter name.",
}  # fmt: skip


class ConfigError(UserError, ValueError):
    """A mistake in a value of the configuration; also a `ValueError`, which pydantic collects."""


_REST = r"\S*?(?=[\"'`\]),:;.}]*(?:\s|$))"  # up to the quotes and marks at the end of a word
_SECRETS = (
    r"(//)[^\s/?#]*@",  # a user name and password
    r"(//)[^\s/?#:]*:(?!\d*(?:[/?#\s]|$))\S*@",  # a password with `/`, `?` or `#`; not a port
    r"(^|[\s\"'\[(`,])[^\s/:\"'\[(`,]+:[^\s/]+@",  # an address that lacks `https://`
    rf"(//[^\s?#]*)[?#]{_REST}",  # the query
    rf"()\?[^\s=]*={_REST}",  # the query of a relative address
)


def without_secrets(text: str) -> str:
    """Remove user names, passwords and queries from the addresses in a text.

    Examples
    --------
    >>> without_secrets("https://me:secret@mirror.org/kodak?token=secret was interrupted")
    'https://mirror.org/kodak was interrupted'
    """
    return functools.reduce(lambda rest, pattern: re.sub(pattern, r"\1", rest), _SECRETS, text)
