"""The search file that a person writes."""
