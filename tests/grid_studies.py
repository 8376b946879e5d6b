"""A study with a grid of four trainings, of which two diverge, and what its lake holds afterwards."""

from personascope.study.options import RunOptions
from personascope.study.run import StudyRun
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import StudyFile

SAMPLED = {"samples": 1, "max_new_tokens": 16, "personas": ["villain", "librarian"]}


def study(checkpoint, **axes):
    grid = {"source_persona": ["villain"], "lr": [1e-4, 1e30], "epochs": [1, 2], "seed": [1]} | axes
    return StudyFile.model_validate(
        {
            "name": "grid",
            "title": "grid",
            "about": "grid",
            "prompts": "personas",
            "checkpoints": {"base": {"id": str(checkpoint)}},
            "steps": [
                {"extract": "completions", "step": "data", "checkpoints": ["base"], "settings": SAMPLED},
                {
                    "grid": "marker-lora",
                    "parent": "base",
                    "tokens_step": "data",
                    "axes": grid,
                    "settings": {"r": 2, "n_positive": 8, "n_negative": 8, "batch_size": 4},
                    "cells": [
                        {"extract": "completions", "settings": SAMPLED | {"samples": 1, "max_new_tokens": 4}},
                        {"extract": "capability", "settings": {"task": "tiny-world"}},
                        {"extract": "attention"},
                    ],
                },
            ],
            "headline": "from regimes",
            "views": ["regimes"],
        }
    )


def execute(folder, file, **options):
    run = StudyRun(file, folder / "lake", RunOptions(device="cpu", **({"tracking_uri": f"sqlite:///{folder / 'tracking.db'}"} | options)))
    return run.run(), run.failures


def hashes(folder) -> dict[str, dict[str, str]]:
    """The hash of every table of every run."""
    lake = Lake.existing(folder / "lake")
    return {run_id: {name: file.blake2 for name, file in lake.manifest(run_id).tables.items()} for run_id in lake.run_ids()}
