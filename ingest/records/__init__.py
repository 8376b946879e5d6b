"""Files of records that people bring (CSV, JSON lines, Parquet, logs of inspect_ai): read in batches, columns found by name, every fault with its line."""
