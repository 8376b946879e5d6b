"""Rows of `checkpoints` from the metadata block that the study writes into its files: what the block says, and nothing else."""

from typing import Any

from personascope.ingest.published.validate import Count, Strict

BASE = "base"


class StudyMetadata(Strict):
    """The fields of a metadata block that name weights; a file need not have any of them."""

    issue: int | str | None = None
    hf_repo: str | None = None
    hf_pinned_revision: str | None = None
    subfolder_template: str | None = None
    base_model_id: str | None = None
    base_model_revision: str | None = None
    n_layers: Count | None = None
    n_heads: Count | None = None

    def trained(self, persona: str) -> dict[str, Any]:
        """The checkpoint trained for `persona`: a folder of a Hub repository, named after the persona."""
        folder = self.subfolder_template.replace("{persona}", persona) if self.subfolder_template else None
        return {
            "checkpoint": persona,
            "id": "/".join(part for part in (self.hf_repo, folder) if part) or None,
            "revision": self.hf_pinned_revision,
            "parent": BASE if self.base_model_id else None,
            "source_persona": persona,
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
        }

    def base(self) -> dict[str, Any]:
        """The untrained model under the short name `base`."""
        return {
            "checkpoint": BASE,
            "id": self.base_model_id,
            "revision": self.base_model_revision,
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
        }


def checkpoint_of(subject: str) -> str:
    """The checkpoint that read the tokens: `base` for `base_<persona>` (the base model fed that persona's tokens), else the subject itself."""
    return BASE if subject.startswith(f"{BASE}_") else subject


def tokens_of(subject: str) -> str:
    """The checkpoint whose tokens were read: `<persona>` for `base_<persona>`, else the subject itself."""
    return subject.removeprefix(f"{BASE}_")
