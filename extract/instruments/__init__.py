"""What reads or changes a forward pass: attention rows, entropies, residual streams, components, replays."""
