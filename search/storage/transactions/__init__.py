"""Atomic writes to Optuna's tables (schema version 12).

Optuna writes a result in several transactions, and overwrites an attribute whatever its value.
"""
