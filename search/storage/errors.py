"""Errors about studies, for the person who asked for one."""

from __future__ import annotations

from spaces.errors import UserError


class StudyError(UserError):
    """A study that does not exist, belongs to another search, or cannot be opened."""


class NoSuchStudy(StudyError):
    """No study, or no trial, has that name."""


class BusyStudy(StudyError):
    """The request conflicts with the state of the study, such as running."""


class StudyUnavailable(StudyError):
    """The study's database cannot be reached."""


class DamagedStudy(StudyUnavailable):
    """The study's file is not a whole database."""


class Overloaded(UserError):
    """More requests or searches wait than a service keeps."""
