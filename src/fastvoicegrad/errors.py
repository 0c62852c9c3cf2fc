"""The one exception that is the user's to see."""


class InputError(ValueError):
    """Something that was given cannot be used. The message is one line: what is wrong and what to do."""
