"""Checkpoints as models: loading, the device they lie on, and the engines that sample."""
