"""What can be wrong with a study, for the person who asked for it."""

from __future__ import annotations

from spaces.errors import UserError


class StudyError(UserError):
    """A study that is not there, belongs to another search, or cannot be opened."""


class NoSuchStudy(StudyError):
    """There is no study, or no trial, of that name."""


class BusyStudy(StudyError):
    """What was asked for does not go together with what the study is or does now."""


class StudyUnavailable(StudyError):
    """The study's database cannot be reached."""


class DamagedStudy(StudyUnavailable):
    """The study's file is there and is not a whole database."""
