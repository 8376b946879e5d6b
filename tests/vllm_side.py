"""For the interpreter of an environment with vLLM: samples checkpoints one by one and together, into lakes that a test holds beside each other."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.hands import alone
from personascope.extract.job import Job, running
from personascope.extract.together import together
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake


def main(folder: Path) -> dict[str, Any]:
    """What `asked.json` in the folder asks for; for every sampling the run of each checkpoint and the number of calls that vLLM got."""
    from vllm import LLM

    asked = json.loads((folder / "asked.json").read_text())
    checkpoints = [resolve(source, name=name) for name, source in asked["checkpoints"].items()]
    models, found, calls, generate = Models("cpu", "float32"), {}, [0], LLM.generate

    def counted(*given: Any, **more: Any) -> Any:
        calls[0] += 1
        return generate(*given, **more)

    LLM.generate = counted
    for name, how in asked["samplings"].items():
        calls[0] = 0
        lake, prompts, settings = Lake.open(folder / name), load_prompt_set("personas"), CompletionSettings(**how["settings"], engine="vllm")
        job = Job(lake, checkpoints[0], models, prompts, batch_tokens=how["batch_tokens"], at_once=len(checkpoints))
        works = [(each.name, running(Completions(settings, Job(**vars(job) | {"checkpoint": each})))) for each in checkpoints]
        runs = dict(together(works, len(checkpoints))) if how["together"] else {each: alone(work) for each, work in works}
        found[name] = {"runs": runs, "calls": calls[0]}
    models.release()
    return found


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):
        answer = main(Path(sys.argv[1]))
    print(json.dumps(answer))
