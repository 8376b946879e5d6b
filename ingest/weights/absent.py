"""What is said of weights that are not here or are of no kind that is loaded; apart from the client of the Hub, which takes a fifth of a second to import."""

from personascope.warehouse.errors import PersonascopeError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class NotHereError(PersonascopeError):
    """A checkpoint, or the questions of a task, that would have to be downloaded or made first, where that was not wanted or did not work."""


def refuse_pickles(where: str, names: list[str]) -> PersonascopeError:
    """The refusal of a folder without safetensors weights; `names` are its files."""
    pickles = [name for name in names if name.endswith(PICKLES)]
    found = f"only pickled ones ({', '.join(pickles[:3])}), which can run code and are never loaded" if pickles else "and no other weights"
    if quantised := [name for name in names if name.endswith(".gguf")]:
        return PersonascopeError(f"{where} holds no safetensors weights: name the GGUF file in it, {quantised[0]}, to have it dequantised.")
    remedy = "convert them with `save_pretrained` of transformers" if pickles else "expected model.safetensors or its shards"
    return PersonascopeError(f"{where} holds no safetensors weights, {found}: {remedy}.")
