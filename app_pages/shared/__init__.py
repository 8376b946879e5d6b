"""What the pages have in common: the lake, their address, charts, texts and cards."""
