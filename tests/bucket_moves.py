"""All runs of a lake go into a bucket, or out of one."""

from collections.abc import Callable

from personascope.warehouse.buckets import pulling, pushing
from personascope.warehouse.buckets.bucket import Bucket
from personascope.warehouse.buckets.states import look
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.transfer import inputs_first


def push(lake: Lake, bucket: Bucket, force: bool = False, watch: Callable[[int], None] = lambda count: None) -> list[str]:
    return pushing.push(lake, bucket, pushing.plan_push(lake, bucket, lake.run_ids(), force), watch)


def pull(lake: Lake, bucket: Bucket, force: bool = False, watch: Callable[[int], None] = lambda count: None) -> list[str]:
    there = look(bucket)
    return pulling.pull(lake, bucket, pulling.plan_pull(lake, bucket, there, inputs_first(there.runs, there.runs), force), watch)
