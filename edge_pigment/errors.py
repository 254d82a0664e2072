"""Errors that a user sees: each text is written once, here, and says what is wrong and how to mend it.

Tests match these texts by name. Raise with `raise InputError(texts.SOME_TEXT.format(...))`.
"""


class EdgePigmentError(Exception):
    """Anything that ends a command with one clear line instead of a traceback."""

    exit_code = 1


class InputError(EdgePigmentError):
    """The user's files or options are not usable as they are; nothing was written."""

    exit_code = 2


class DeviceError(EdgePigmentError):
    """The device that was asked for does not work here."""

    exit_code = 3


class BundleError(InputError):
    """The bundle of the prior is damaged, too new, or lacks what was asked for."""
