"""What the app and the reports call things, in one place, so that every page and every figure says the same."""

from collections.abc import Iterable, Sequence

CONTROLS = {
    "C1": "C1 random",
    "C2": "C2 just before",
    "C3": "C3 rare",
    "C4": "C4 no marker",
}
CONTROL_MEANINGS = {
    "C1": "five random positions earlier in the same answer",
    "C2": "the three positions just before the marker",
    "C3": "up to three of the rarest tokens earlier in the same answer",
    "C4": "the last word of answers to the same question that do not hold the marker",
}
SEGMENTATIONS = {"B": "B content only", "A": "A all tokens"}
REGION_NAMES = {
    ("A", "system"): "system prompt",
    ("A", "user"): "user turn",
    ("A", "assistant"): "answer so far",
    ("A", "header"): "assistant header",
    ("B", "system"): "system prompt, content",
    ("B", "user"): "user turn, content",
    ("B", "assistant"): "answer so far, content",
    ("B", "specials"): "header and structural tokens",
}
# The regimes of a sweep: the letter in its cell, and its words.
REGIME_LETTERS = {"under_trained": "U", "partial": "P", "clean": "C", "collapse_onset": "O", "broad_leakage": "B", "total_collapse": "T"}
REGIMES = {name: name.replace("_", "-" if name == "under_trained" else " ") for name in REGIME_LETTERS}
UNJUDGED = "?"
NOTHING_KNOWN = "not recorded"


def known(value: object) -> str:
    """The value, or that it was not recorded."""
    return NOTHING_KNOWN if value is None else str(value)


def trainings(origin: str, seed: int | None, recipe: str | None) -> str:
    """Which trainings a sweep is of; published ones have no recipe to be told by."""
    return f"training seed {known(seed)}{'' if origin == 'published' else f', recipe {known(recipe)}'}"


def signed(number: float | None, digits: int = 4) -> str:
    """A number with its sign, a real minus included; one that rounds to nothing has no sign."""
    if number is None:
        return NOTHING_KNOWN
    written = f"{number:+.{digits}f}"
    return (written if float(written) else written[1:]).replace("-", "−")


def p_value(p: float | None) -> str:
    """`p = 0.031`, or `p < 0.0001` where more digits say nothing, kept on one line."""
    words = "p not defined" if p is None else "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def degrees(df: float | None) -> str:
    """Degrees of freedom: `17`, or `14.3` where clusters of unequal size leave no whole number."""
    return NOTHING_KNOWN if df is None else f"{df:.1f}".removesuffix(".0")


FEWEST_SEEDS = 3
TOO_FEW_SEEDS = "From fewer than three seeds neither the interval of their mean nor where the next seed would fall can be known."


def seed_bar(n_seeds: int) -> str:
    """What a bar over training seeds shows, and what cannot be known from so few."""
    if n_seeds < FEWEST_SEEDS:
        return f"bar: lowest to highest seed. {TOO_FEW_SEEDS}"
    return "bar: 95% t interval over seeds as a random effect (lowest to highest where none differ); the next seed is expected from next_low to next_high"


def movement(verdict: str, margin: float) -> str:
    """`equivalent within ±0.005` where an effect is shown to lie within its margin, else `moved` or `cannot tell`."""
    return f"equivalent within ±{margin:g}" if verdict == "equivalent" else verdict


def count(number: int | None, word: str) -> str:
    """`1 question`, `18 questions`, and `questions not recorded` where the number is not known."""
    return f"{word}s {NOTHING_KNOWN}" if number is None else f"{number:,} {word if number == 1 else f'{word}s'}"


def enumeration(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def count_range(numbers: Iterable[int | None], word: str) -> str:
    """`84 generations`, or `3 to 84 generations` where figures side by side do not rest on the same number."""
    known = {number for number in numbers if number is not None}
    if len(known) > 1:
        return f"{min(known):,} to {max(known):,} {word}s"
    return count(next(iter(known), None), word)


def learning_rate(rate: float) -> str:
    """`5e-6`, as people write it."""
    mantissa, exponent = f"{rate:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
