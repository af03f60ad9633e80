"""Samplers decide which configuration to try next."""
