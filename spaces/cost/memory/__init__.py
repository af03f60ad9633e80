"""Memory of training, by arithmetic."""
