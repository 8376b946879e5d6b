"""The bucket of an address as it is typed."""

import re
from pathlib import Path

from personascope.warehouse.buckets.bucket import Bucket
from personascope.warehouse.buckets.folder import FolderBucket
from personascope.warehouse.errors import PersonascopeError

KINDS = "s3://BUCKET/PATH, gs://BUCKET/PATH, hf://datasets/OWNER/NAME, file:///FOLDER or a folder"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


def open_bucket(address: str) -> Bucket:
    """The bucket at an address; nothing is made there yet. Raises PersonascopeError for what is no address, and for a place that is something else."""
    match = _SCHEME.match(address)
    scheme = match[1].lower() if match else None
    if scheme == "s3" and address.startswith("s3://"):
        from personascope.warehouse.buckets.s3 import S3Bucket

        return S3Bucket(address)
    if scheme == "gs" and address.startswith("gs://"):
        from personascope.warehouse.buckets.gcs import GcsBucket

        return GcsBucket(address)
    if scheme == "hf" and address.startswith("hf://"):
        from personascope.warehouse.buckets.hub import HubBucket

        return HubBucket(address)
    if scheme == "file" and address.startswith("file:///") and len(address) > len("file:///"):
        return FolderBucket(address, Path(address.removeprefix("file://")))
    if scheme is None and address.strip():
        return FolderBucket(address, Path(address).expanduser().absolute())
    raise PersonascopeError(f"bucket {address!r}: expected {KINDS}")
