"""Role focus on extracted readings: every figure of the views beside a plain recomputation from the planted entropies."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.analyses.bca import bca_interval
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(5)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_role_focus.py"))))
SHAPE = (planted.LAYERS, planted.HEADS)
R, SEED = 2000, 42


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("role_focus"))
    return lake, planted.build(lake), analyses.refresh(lake)


@pytest.fixture(scope="module")
def select(lake):
    return lambda query: Warehouse(lake[0]).select(query).to_dicts()


def lengths(category):
    return np.array([planted.n_positions(category, prompt) for prompt in range(planted.PROMPTS)], dtype=float)


def pooled(family, variant, category, times=None):
    """Entropy [layers, heads] over the positions of all prompts, each prompt as often as `times` says."""
    times = np.ones(planted.PROMPTS) if times is None else times
    weights = times * lengths(category)
    return np.einsum("p,plh->lh", weights, planted.entropies(family, variant)[category]) / weights.sum()


def rfc(family, variant, draws=None):
    own, neutral = (pooled(family, variant, category, None if draws is None else draws[category]) for category in ("self_referent", "neutral"))
    return 1 - own / neutral


def test_heads_are_ratios_of_pooled_entropies(select):
    rows = select("from rfc_head")
    assert len(rows) == 4 * planted.LAYERS * planted.HEADS
    for row in rows:
        own, confounder, neutral = (
            pooled(row["family"], row["variant"], name)[row["layer"], row["head"]] for name in ("self_referent", "confounder", "neutral")
        )
        found = (row["h_self"], row["delta_neutral"], row["rfc"], row["rsi"])
        assert found == pytest.approx((own, own - neutral, 1 - own / neutral, (confounder - own) / neutral), abs=1e-6)
        third = pooled(row["family"], row["variant"], "third_person")[row["layer"], row["head"]]
        assert (row["h_confounder"], row["h_neutral"], row["h_third"], row["delta_confounder"]) == pytest.approx(
            (confounder, neutral, third, own - confounder), abs=1e-6
        )
        assert row["n_heads_model"] == planted.HEADS
        assert row["sharp"] is False and row["n"] == planted.PROMPTS and row["form"] == "raw"


def test_layers_and_differences_have_the_published_intervals_and_the_sound_ones(select):
    layers = {(row["family"], row["variant"], row["layer"]): row for row in select("from rfc_layer")}
    for (family, variant, layer), row in layers.items():
        heads = rfc(family, variant)[layer]
        half = stats.t.ppf(0.975, len(heads) - 1) * heads.std(ddof=1) / np.sqrt(len(heads))
        assert (row["rfc"], row["ci_low"], row["ci_high"]) == pytest.approx((heads.mean(), heads.mean() - half, heads.mean() + half), abs=1e-6)
        own, neutral, confounder = (pooled(family, variant, name)[layer] for name in ("self_referent", "neutral", "confounder"))
        assert row["ratio_of_means"] == pytest.approx(1 - own.mean() / neutral.mean(), abs=1e-6)
        separation = (confounder - own) / neutral
        half = stats.t.ppf(0.975, len(heads) - 1) * separation.std(ddof=1) / np.sqrt(len(heads))
        found = [row[name] for name in ("rsi", "rsi_std", "rsi_ci_low", "rsi_ci_high", "delta_neutral", "delta_confounder")]
        assert found == pytest.approx(
            [separation.mean(), separation.std(ddof=1), separation.mean() - half, separation.mean() + half, (own - neutral).mean(), (own - confounder).mean()],
            abs=1e-6,
        )
        assert (row["rfc_without_sharp"], row["n_sharp"], row["n_heads"], row["n"]) == (row["rfc"], 0, planted.HEADS, planted.PROMPTS)
    rows = select("from rfc_diff where origin = 'extracted' order by family, layer")
    assert [(row["family"], row["layer"]) for row in rows] == [(family, layer) for family in planted.FAMILIES for layer in range(planted.LAYERS)]
    for row in rows:
        base, instruct = (rfc(row["family"], variant)[row["layer"]] for variant in ("base", "instruct"))
        se = np.sqrt(base.var(ddof=1) / len(base) + instruct.var(ddof=1) / len(instruct))
        half = stats.t.ppf(0.975, len(base) - 1) * se
        difference = instruct.mean() - base.mean()
        assert (row["rfc_diff"], row["ci_low"], row["ci_high"]) == pytest.approx((difference, difference - half, difference + half), abs=1e-6)
        df = se**4 / sum((each.var(ddof=1) / len(each)) ** 2 / (len(each) - 1) for each in (base, instruct))
        separations = [layers[row["family"], variant, row["layer"]]["rsi"] for variant in ("base", "instruct")]
        found = [row[name] for name in ("se", "welch_df", "welch_p", "rsi_base", "rsi_instruct", "rsi_diff")]
        welch_p = 2 * stats.t.sf(abs(difference) / se, df)
        assert found == pytest.approx([se, df, welch_p, *separations, separations[1] - separations[0]], rel=1e-4)  # float32 entropies of two heads
        assert row["resampled_low"] < row["rfc_diff"] < row["resampled_high"] and row["ci_error"] is None
        assert row["ratio_diff_low"] < row["ratio_diff"] < row["ratio_diff_high"]


def drawn(family):
    """RFC differences [R, layers] when prompts are drawn again within their category, one draw at a time."""
    draws = {}
    for number, category in enumerate(("self_referent", "confounder", "neutral")):
        chosen = np.random.default_rng(SEED + number).integers(0, planted.PROMPTS, size=(R, planted.PROMPTS))
        draws[category] = np.array([np.bincount(each, minlength=planted.PROMPTS) for each in chosen], dtype=float)
    found = []
    for draw in range(R):
        times = {category: counts[draw] for category, counts in draws.items()}
        found.append((rfc(family, "instruct", times) - rfc(family, "base", times)).mean(axis=1))
    return np.array(found)


def without_each(family):
    """RFC differences with each prompt left out, a list over categories of [prompts, layers]."""
    everyone, found, categories = np.ones(planted.PROMPTS), [], ("self_referent", "confounder", "neutral")
    for category in categories:
        rest = [{**dict.fromkeys(categories, everyone), category: everyone - np.eye(planted.PROMPTS)[left]} for left in range(planted.PROMPTS)]
        found.append(np.array([(rfc(family, "instruct", times) - rfc(family, "base", times)).mean(axis=1) for times in rest]))
    return found


def test_intervals_are_those_of_a_plain_bootstrap_of_prompts(select):
    replicates = {family: drawn(family) for family in planted.FAMILIES}
    left_out = {family: without_each(family) for family in planted.FAMILIES}
    level = 1 - 2 * stats.norm.sf(np.sqrt(6 / 5) * stats.t.ppf(0.975, 5))
    for row in select(
        "select d.family, i.* from rfc_intervals as i join (select distinct family, base_run, instruct_run from rfc_diff) as d using (base_run, instruct_run)"
    ):
        mine = replicates[row["family"]]
        layers = slice(None) if row["layer"] is None else slice(row["layer"], row["layer"] + 1)
        values = mine[:, layers].mean(axis=1)
        observed = (rfc(row["family"], "instruct") - rfc(row["family"], "base"))[layers].mean()
        low, high = bca_interval(values[:, None], np.array([observed]), [each[:, layers].mean(axis=1)[:, None] for each in left_out[row["family"]]], level)
        assert (row["rfc_diff_low"], row["rfc_diff_high"]) == pytest.approx((low[0], high[0]), abs=1e-6)
        assert row["replicates"] == pytest.approx(values.tolist(), abs=1e-6) and (row["resamples"], row["seed"], row["n_prompts"]) == (R, SEED, 6)
    correlations = [np.corrcoef(one, other)[0, 1] for one, other in zip(*replicates.values(), strict=True)]
    for row in select("from rfc_correlation_certainty"):
        assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(correlations, (0.025, 0.975))), abs=1e-5)
        assert row["share_positive"] == pytest.approx(np.mean(np.array(correlations) > 0)) and row["n"] == planted.LAYERS
        seen = {family: (rfc(family, "instruct") - rfc(family, "base")).mean(axis=1) for family in planted.FAMILIES}
        scale = planted.PROMPTS / (planted.PROMPTS - 1)
        left = {family: seen[family].var() - scale * (replicates[family] - seen[family]).var(axis=1).mean() for family in planted.FAMILIES}
        found = [row["reliability_a"], row["reliability_b"]]
        assert found == pytest.approx([max(0, left[family] / seen[family].var()) for family in planted.FAMILIES], abs=1e-4)
        assert (row["corrected"] is None) == (min(left.values()) <= 0) and (row["corrected_low"] is None) == (row["corrected_missing"] is not None)


def test_candidates_follow_the_published_rule_over_all_heads(select):
    rows = select("from patching_candidates where origin = 'extracted'")
    assert len(rows) == 2 * planted.LAYERS * planted.HEADS
    for family in planted.FAMILIES:
        values = {variant: planted.entropies(family, variant) for variant in ("base", "instruct")}
        own = {variant: values[variant]["self_referent"] for variant in values}
        neutral = {variant: values[variant]["neutral"] for variant in values}
        did = (own["instruct"] - own["base"]) - (neutral["instruct"] - neutral["base"])
        epsilon = 0.05 * np.median(own["base"], axis=0)
        ratios = np.log((own["instruct"] + epsilon) / (own["base"] + epsilon)) - np.log((neutral["instruct"] + epsilon) / (neutral["base"] + epsilon))
        positive = (did > 0).mean(axis=0)
        consistency = np.where(positive > 0.5, positive, (did < 0).mean(axis=0))
        parts = [np.abs(np.median(ratios, axis=0)), consistency, -np.median(own["base"], axis=0)]
        scores = [(part - part.mean()) / part.std(ddof=1) for part in parts]
        composite = sum(scores)
        changed, log_ratio = own["instruct"] - own["base"], np.log((own["instruct"] + epsilon) / (own["base"] + epsilon))
        rising = (changed > 0).mean(axis=0)
        figures = {
            "log_ratio": np.median(log_ratio, axis=0),
            "self_diff": np.median(changed, axis=0),
            "neutral_diff": np.median(neutral["instruct"] - neutral["base"], axis=0),
            "self_consistency": np.where(rising > 0.5, rising, (changed < 0).mean(axis=0)),
            "self_diff_iqr": np.subtract(*np.quantile(changed, [0.75, 0.25], axis=0)),
            "did_iqr": np.subtract(*np.quantile(did, [0.75, 0.25], axis=0)),
            "log_ratio_iqr": np.subtract(*np.quantile(log_ratio, [0.75, 0.25], axis=0)),
            "baseline": np.median(own["base"], axis=0),
            **dict(zip(("magnitude_score", "consistency_score", "baseline_score"), scores, strict=True)),
            **{f"self_{variant}": np.median(own[variant], axis=0) for variant in own},
            **{f"neutral_{variant}": np.median(neutral[variant], axis=0) for variant in neutral},
        }
        mine = sorted((row for row in rows if row["family"] == family), key=lambda row: row["rank"])
        assert [(row["layer"], row["head"]) for row in mine] == [divmod(int(place), planted.HEADS) for place in np.argsort(-composite.ravel())]
        p = {}
        for row in mine:
            place = row["layer"], row["head"]
            found = (row["did"], row["did_log_ratio"], row["consistency"], row["composite"])
            expected = (np.median(did, axis=0)[place], np.median(ratios, axis=0)[place], consistency[place], composite[place])
            assert found == pytest.approx(expected, abs=1e-5)
            assert {name: row[name] for name in figures} == pytest.approx({name: values[place] for name, values in figures.items()}, abs=1e-4)
            assert row["is_top"] == (row["rank"] <= 10) and row["direction_conflict"] == (row["did"] * row["self_diff"] < 0)
            assert row["n_pairs"] == planted.PROMPTS and row["n_heads_searched"] == len(mine)
            signs = np.array(np.meshgrid(*[[-1, 1]] * planted.PROMPTS)).reshape(planted.PROMPTS, -1).T
            t = np.abs(stats.ttest_1samp(signs[..., None, None] * did[None], 0, axis=1).statistic)
            observed = np.abs(stats.ttest_1samp(did, 0, axis=0).statistic)
            p[place] = np.mean(t[:, *place] >= observed[place] * (1 - 1e-9))
            assert row["flip_p"] == pytest.approx(p[place])
            assert row["flip_p_max_t"] == pytest.approx(np.mean(t.reshape(len(t), -1).max(axis=1) >= observed[place] * (1 - 1e-9)))
        adjusted = stats.false_discovery_control(list(p.values()))
        assert [row["flip_p_fdr"] for row in mine] == pytest.approx([min(pair) for pair in zip(adjusted, (row["flip_p_max_t"] for row in mine), strict=True)])


def test_categories_of_a_head_and_the_control_of_position(select):
    def distance(own, other):
        return (own.mean() - other.mean()) / np.sqrt((own.var(ddof=1) + other.var(ddof=1)) / 2)

    rows = select("from head_entropy where category = 'self_referent'")
    assert len(rows) == 4 * planted.LAYERS * planted.HEADS
    for row in rows:
        family, variant = row["checkpoint"].split("-")
        values = planted.entropies(family, variant)
        own, neutral, confounder = (values[name][:, row["layer"], row["head"]] for name in ("self_referent", "neutral", "confounder"))
        expected = (own.mean(), own.std(ddof=1), distance(own, neutral), distance(own, confounder))
        assert (row["mean"], row["sd"], row["d_neutral"], row["d_confounder"]) == pytest.approx(expected, abs=1e-4)
    assert {row["d_neutral"] for row in select("from head_entropy where category = 'neutral'")} == {None}
    for row in select("from token_control"):
        family, variant = row["checkpoint"].split("-")
        values = planted.entropies(family, variant)
        last, neutral = (values[name][:, row["layer"]].mean(axis=1) + 0.1 * np.arange(planted.PROMPTS) for name in (row["category"], "neutral"))
        beside = (row["first_three"], row["first_three_neutral"], row["last_three"], row["last_three_neutral"])
        assert beside == pytest.approx((0.4, 0.4, last.mean(), neutral.mean()), abs=1e-5)
        interval = stats.t.interval(0.95, planted.PROMPTS - 1, (last - 0.4).mean(), stats.sem(last - 0.4))
        assert (row["difference"], row["low"], row["high"]) == pytest.approx(((last - 0.4).mean(), *interval), abs=1e-5)


def test_an_ablation_is_compared_with_the_unchanged_model(select):
    (row,) = select("from ablation_effects")
    lost = 0.5 + np.arange(planted.PROMPTS) % 2
    interval = stats.t.interval(0.95, planted.PROMPTS - 1, -lost.mean(), stats.sem(lost))
    found = (row["log_prob_change"], row["log_prob_low"], row["log_prob_high"], row["logit_change"], row["kl"], row["nll_change"])
    assert found == pytest.approx((-lost.mean(), *interval, -lost.mean(), lost.mean(), lost.mean()), abs=1e-6)
    assert (row["movement"], row["margin"], row["clustered_df"], row["n_effective_clusters"]) == ("moved", 0.1, planted.PROMPTS - 1, planted.PROMPTS)
    assert (row["share_flipped"], row["share_same"], row["mean_same_tokens"], row["n_generations"]) == (0.5, 0.5, 3.5, planted.PROMPTS)
    assert (row["n_readers"], row["largest_entropy_layer"]) == (2, 2)
    assert (row["entropy_change"], row["largest_entropy_change"]) == pytest.approx((0.15, 0.2), abs=1e-6)


def test_a_head_of_role_focus_stands_in_heads(select):
    rows = select("select checkpoint, layer, head, rfc, focus_rank, focus_p from heads where checkpoint = 'ash-instruct' order by layer, head")
    assert len(rows) == planted.LAYERS * planted.HEADS and sorted(row["focus_rank"] for row in rows) == list(range(1, 7))
    assert rows[0]["rfc"] == pytest.approx(rfc("ash", "instruct")[0, 0], abs=1e-6)


def test_variants_of_one_family_and_another_size_are_no_pair(tmp_path):
    lake = Lake.open(tmp_path)
    runs = [planted.entropy_run(lake, "ash", variant) for variant in ("base", "instruct")]
    larger = planted.spec("entropy", checkpoint="ash-large", subject="ash-large", prompt_set=planted.PROMPT_SET)
    row = {"checkpoint": "ash-large", "id": "ash-large", "family": "ash", "variant": "base", "n_layers": planted.LAYERS + 1, "n_heads": planted.HEADS}
    key = {"category": "neutral", "question_id": "q0", "example_id": "neutral/q0", "layer": 0, "head": 0, "path": "direct", "n_positions": 5, "mean": 1.0}
    planted.write(lake, larger.model_copy(update={"constants": {"prompt_set": planted.PROMPT_SET, "form": "raw"}}), entropy=[key], checkpoints=[row])
    assert Warehouse(lake).select("select base_run, instruct_run from rfc_pairs").rows() == [tuple(runs)]


def test_a_study_under_another_seed_is_no_second_pair(tmp_path):
    """Entropies are read without a draw: base and instruct under two seeds would be four pairs with the same figures, the newest readings are one."""
    lake = Lake.open(tmp_path)
    for seed in (1, 2):
        runs = []
        for variant in ("base", "instruct"):
            name = f"ash-{variant}"
            run = planted.spec("entropy", checkpoint=name, subject=name, prompt_set=planted.PROMPT_SET, seed=seed, tag=seed)
            row = {"checkpoint": name, "id": name, "revision": "r1", "family": "ash", "variant": variant, "n_layers": planted.LAYERS, "n_heads": planted.HEADS}
            keys = [{"category": name, "question_id": "q0", "example_id": f"{name}/q0"} for name in ("self_referent", "neutral")]
            read = [key | {"layer": 0, "head": 0, "path": "direct", "n_positions": 5, "mean": 1.0} for key in keys]
            constants = {"prompt_set": planted.PROMPT_SET, "form": "raw"}
            runs.append(planted.write(lake, run.model_copy(update={"constants": constants}), entropy=read, checkpoints=[row]))
    assert Warehouse(lake).select("select base_run, instruct_run from rfc_pairs").rows() == [tuple(runs)]
    assert Warehouse(lake).select("select count(*) from rfc_summary").item() == 1
