"""Deciding, distributing, remembering and answering."""
