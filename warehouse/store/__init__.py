"""The lake on disk: schema, run folders, manifests, Parquet files and what a run ran on."""
