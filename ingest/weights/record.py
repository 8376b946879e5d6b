"""Records a checkpoint in the lake as a run of its own, so that it is listed before anything was extracted from it."""

from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.manifest import RunSpec


def record_checkpoint(lake: Lake, checkpoint: Checkpoint, base: str | None = None) -> str:
    """Commits a run of kind `ingest` with the checkpoint's row; the same checkpoint twice is recognised. Returns the run_id.

    `base` is the base model of an adapter as it was typed.
    """
    given = [Parameter(name="base", value=base, origin="command line")] if base is not None else []
    spec = RunSpec(
        kind="ingest",
        extractor="checkpoint",
        version=1,
        identity={"name": checkpoint.name, "identity": checkpoint.identity},
        checkpoint=checkpoint.name,
        parameters=[
            Parameter(name="id", value=checkpoint.id, origin="command line"),
            Parameter(name="revision", value=checkpoint.revision),
            *given,
            *([Parameter(name="quantisation", value=checkpoint.quantisation)] if checkpoint.quantisation else []),
        ],
    )
    writer = lake.start(spec, patience=PATIENCE)
    if writer is not None:
        with writer:
            writer.write_part("checkpoint", {"checkpoints": [checkpoint.row()]})
            writer.commit()
    return spec.run_id


def other_weights(lake: Lake, checkpoint: Checkpoint) -> str | None:
    """A sentence where runs of the lake bear the checkpoint's name and are of other weights: a view by that name would mix both without a word."""
    named = {run.run_id: run.identity.get("checkpoint") for run in lake.manifests() if run.checkpoint == checkpoint.name}
    others = [run_id for run_id, known in named.items() if isinstance(known, list) and known != [checkpoint.name, checkpoint.identity]]
    if not others:
        return None
    there = f"{others[0]}, one of {len(others)} runs" if len(others) > 1 else others[0]
    return f"{checkpoint.name} is the name of other weights in this lake ({there}), and views by that name will hold both; another name tells them apart"
