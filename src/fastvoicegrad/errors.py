"""The one exception and the one warning that are meant for the user."""


class InputError(ValueError):
    """An input that cannot be used. The message is one line: what is wrong and what to do."""


class AudioWarning(UserWarning):
    """A finding about a recording that is converted all the same."""
