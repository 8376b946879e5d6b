"""A lake for a team: runs carried between a lake and a bucket, which is the store of record."""
