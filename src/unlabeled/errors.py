"""Errors that the user can mend; the command line prints them as one line and ends with status 2."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, the value, and the way out."""


class DataError(UserError):
    """Images or labels that can't be used."""


class DamagedFile(UserError):  # noqa: N818 - the field's word for it
    """A file of the package's own that is not as it was written."""


class ProcessKilled(UserError):  # noqa: N818 - what happened to it
    """A process that computed was ended from outside."""


class TrainingDiverged(UserError):  # noqa: N818 - the field's word for it
    """The loss stopped being finite."""
