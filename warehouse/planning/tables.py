"""What a plan shows: power over questions and samples, what designs that ship could see, and the sentence for a study file."""

from dataclasses import replace

import polars as pl

from personascope.warehouse.planning.power import ALPHA, LEAST_SEEDS, TARGET, Design, Effect, power, questions_needed, smallest_difference

QUESTIONS = (10, 20, 30, 50, 75, 100, 150, 200, 300)
SAMPLES = (1, 3, 5, 10, 20, 30)
# Questions and samples a persona of published studies and of the variants that ship, by whom.
DESIGNS = {
    "published sweep over learning rates, and lr-epochs": (20, 10),
    "published marker rates (issue 224), and marker-attention": (20, 30),
    "marker-attention --quick, the demo": (20, 5),
    "lr-epochs --quick": (20, 3),
    "--small": (16, 3),
}


def grid(effect: Effect, design: Design, alpha: float = ALPHA) -> pl.DataFrame:
    """Power for every number of questions and samples around the design, its own among them: columns questions, samples, power, smallest_difference."""
    questions, samples = (sorted({*usual, own}) for usual, own in ((QUESTIONS, design.questions), (SAMPLES, design.samples)))
    cells = [replace(design, questions=q, samples=r) for r in samples for q in questions]
    return pl.DataFrame(
        {
            "questions": [cell.questions for cell in cells],
            "samples": [cell.samples for cell in cells],
            "power": [power(effect, cell, alpha) for cell in cells],
            "smallest_difference": [smallest_difference(effect, cell, alpha=alpha) for cell in cells],
        }
    )


def shipped(effect: Effect, alpha: float = ALPHA) -> pl.DataFrame:
    """What the designs that ship could see of the effect: columns design, questions, samples, power, smallest_difference (at 80% power)."""
    cells = [Design(*sizes) for sizes in DESIGNS.values()]
    return pl.DataFrame(
        {
            "design": list(DESIGNS),
            "questions": [cell.questions for cell in cells],
            "samples": [cell.samples for cell in cells],
            "power": [power(effect, cell, alpha) for cell in cells],
            "smallest_difference": [smallest_difference(effect, cell, alpha=alpha) for cell in cells],
        }
    )


def answer(effect: Effect, design: Design, target: float = TARGET, alpha: float = ALPHA) -> str:
    """Power of the design, the questions that reach the target, and the smallest difference it sees, in two sentences."""
    found, needed, least = power(effect, design, alpha), questions_needed(effect, design, target, alpha), smallest_difference(effect, design, target, alpha)
    reach = (
        f"{needed} questions reach power {target:g}"
        if needed
        else f"no number of questions reaches power {target:g}: samples, questions or seeds differ too much"
    )
    seen = f"the smallest it sees with power {target:g} is {effect.of(least).words()}" if least else f"it sees no difference with power {target:g}"
    repeats = "one sample" if design.samples == 1 else f"{design.samples} samples"
    return f"{design.words()} see {effect.words()} with power {found:.2f}; {seen}. With {repeats} a question, {reach}."


def sentence(effect: Effect, design: Design, rests_on: str, alpha: float = ALPHA) -> str:
    """The line for the study file's `about`: what was planned, and on what it rests."""
    test = f"paired t test over {'seeds' if design.seeds >= LEAST_SEEDS else 'questions'}, two-sided {alpha:g}"
    return f"Planned: {design.words()} see {effect.words()} with power {power(effect, design, alpha):.2f} ({test}; {rests_on})."


def report(effect: Effect, design: Design, rests_on: str, target: float = TARGET, alpha: float = ALPHA) -> list[str]:
    """Everything a plan says in words: the answer, what it rests on, what the designs that ship could see, and the sentence for a study file."""
    designs = [
        f"{row['design']} ({row['questions']} × {row['samples']}): power {row['power']:.2f}, "
        + (
            f"sees {effect.of(row['smallest_difference']).words()} with power {TARGET:g}"
            if row["smallest_difference"]
            else f"sees no difference with power {TARGET:g}"
        )
        for row in shipped(effect, alpha).rows(named=True)
    ]
    lines = [answer(effect, design, target, alpha), f"It rests on {rests_on}."]
    return [
        *lines,
        "Designs that ship, one comparison each:",
        *(f"  {line}" for line in designs),
        "For the study file:",
        f"  {sentence(effect, design, rests_on, alpha)}",
    ]
