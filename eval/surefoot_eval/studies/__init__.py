"""Studies of single parts; they stay in the repository."""
