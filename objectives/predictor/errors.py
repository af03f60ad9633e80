"""What a person can have done wrong."""


class InputError(ValueError):
    """An input that the model cannot read."""


class ModelError(Exception):
    """A folder that holds no exported model, or a damaged one, or a package that is missing."""
