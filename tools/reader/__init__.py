"""Copies of the chapters for readers, as any notebook front end shows them."""
