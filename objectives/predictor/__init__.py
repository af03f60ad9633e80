"""Predictions of an exported model, in its folder, without tlc.

Its modules import each other relatively and nothing else of tlc: exported folders and registered
models hold a copy of them.
"""

from .errors import InputError, ModelError
from .loading import load
from .model import Model, Prediction

__all__ = ["InputError", "Model", "ModelError", "Prediction", "load"]
