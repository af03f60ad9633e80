"""Baselines that a person would try in a minute, scored and sized like models."""
