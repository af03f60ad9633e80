"""Errors of data sources."""

from typing import NamedTuple

from spaces.errors import UserError


class DataError(UserError):
    """Data that is missing, empty, or not what the search file says."""


class Place(NamedTuple):
    """A source of a search file, such as ``data.labelled``, and one of its splits; both are empty
    where no search file names the data."""

    source: str
    split: str

    def fault(self, said: str, key: str | None = None) -> DataError:
        """The error of the split, or of another field of the source."""
        return DataError(f"{self.source}.{key or self.split}: {said}" if self.source else said)
