"""The exceptions that a user's mistake raises: three sentences and no traceback."""


class UserError(Exception):
    """A mistake that the user can mend.

    Parameters
    ----------
    rule : str
        What must hold.
    came : str
        What was found instead, with its place (file, key path).
    do : str
        What to do now.

    Attributes
    ----------
    rule, came, do : str
    status : int
        What the program ends with.
    """

    status = 1

    def __init__(self, rule: str, *, came: str, do: str):
        self.rule, self.came, self.do = rule, came, do
        super().__init__(f"{rule}\n  found: {came}\n  to do: {do}")


class ConfigError(UserError, ValueError):
    """A mistake in a value of the configuration; also a `ValueError`, which pydantic collects."""
