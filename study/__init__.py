"""Works off a study file: the only place beside the doors that knows ingest, extract and warehouse."""
