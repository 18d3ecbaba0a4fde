"""Scores on UCI tables beside the published ones."""
