"""Models: one thing on the device at a time, made once while it is asked for, closed before the next."""

from personascope.extract.weights.loading import load_tokenizer
from personascope.extract.weights.on_device import Models
from personascope.ingest.weights.checkpoints import resolve


def test_weights_stay_while_the_same_checkpoint_is_asked_for(random_checkpoint):
    models = Models("cpu")
    checkpoint = resolve(str(random_checkpoint))
    loaded = models.load(checkpoint)
    assert models.load(checkpoint) is loaded and models.tokenizer(checkpoint) is loaded.tokenizer
    models.release()
    assert models.load(checkpoint) is not loaded


def test_an_engine_with_weights_of_its_own_is_shut_down_before_anything_else_is_loaded(random_checkpoint):
    models = Models("cpu")
    events: list[str] = []
    checkpoint = resolve(str(random_checkpoint))

    def engine(name):
        def start():
            events.append(f"start {name}")
            return name

        return models.hold(name, start, lambda each: events.append(f"stop {each}"))

    assert engine("one") == engine("one") == "one" and events == ["start one"]
    engine("two")
    assert events == ["start one", "stop one", "start two"]
    models.load(checkpoint)
    assert events[3:] == ["stop two"]
    engine("two")
    models.release()
    models.release()
    assert events[4:] == ["start two", "stop two"]


def test_a_command_reads_a_tokenizer_once_however_many_prompts_it_renders(random_checkpoint, tmp_path, monkeypatch):
    from personascope.extract.extractors.entropy import Entropy, EntropySettings
    from personascope.extract.job import Job, run
    from personascope.extract.weights import on_device
    from personascope.ingest.prompts import Prompt, PromptSet
    from personascope.warehouse.store.lake import Lake

    read = []

    def noted(*arguments):
        read.append(arguments[0])
        return load_tokenizer(*arguments)

    monkeypatch.setattr(on_device, "load_tokenizer", noted)
    prompts = PromptSet(name="many", prompts=tuple(Prompt(example_id=f"q{n}", persona="none", question_id=f"q{n}", question=f"word {n}") for n in range(20)))
    models, checkpoint = Models("cpu"), resolve(str(random_checkpoint))
    for form in ("raw", "chat"):
        run(Entropy(EntropySettings(form=form), Job(Lake.open(tmp_path), checkpoint, models, prompts, say=lambda line: None)))
    models.with_attention("eager").load(checkpoint)
    assert len(read) == 1
