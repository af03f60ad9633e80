"""Deleting and renaming searches."""
