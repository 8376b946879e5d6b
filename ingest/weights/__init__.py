"""Checkpoints as files: where they come from, what they hold, and the cache of what was made of them."""
