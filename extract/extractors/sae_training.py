"""Trains small TopK sparse autoencoders on the activations of a checkpoint at chosen layers: seconds for a tiny one, whatever fits memory for a large one."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from pydantic import Field
from torch import Tensor

from personascope.extract.extractors.reading import chosen_layers
from personascope.extract.instruments.activation_pool import Pool, StagedCapture, needed_bytes, staged_file, staged_pool
from personascope.extract.instruments.attention_readout import right_padded, run_decoder
from personascope.extract.instruments.residual import ResidualStream, Site, capturing, residual_stream
from personascope.extract.instruments.sae_encoding import decode, encode
from personascope.extract.job import Extractor, Item, Settings, cut_batches
from personascope.extract.texts.chat import render
from personascope.extract.texts.tokens import TokensRun, check_same_tokens, read_tokens
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.progress import progress
from personascope.ingest.prompts import PromptSet
from personascope.ingest.sae.autoencoder import Matrix, Sae, unit_rows
from personascope.ingest.sae.files import FILES, load_sae, save_sae
from personascope.ingest.sae.source import TRAINER, content_hash, trained_folder
from personascope.ingest.weights.cache import build_once, built
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed
from personascope.warehouse.store.manifest import Kind, RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

HELD_OUT = 10  # one token in so many is kept from training, to be reconstructed at the end
AUXILIARY_WEIGHT = 1 / 32
DEAD_AFTER = 40  # optimiser steps without firing
MASSIVE = 10  # times the median length, beyond which a token is an outlier that outweighs the others in any sum of squares
EXPANSION = 4  # features for every dimension, where their number is not typed


class SaeSettings(Settings):
    """Everything that decides the autoencoders besides checkpoint and texts."""

    layers: Literal["all"] | list[int] = Field(default="all", description="decoder layers from 0, negative from the end, or all")
    site: Site = Field(default="resid_post", description="activations to encode: resid_pre, attn_out, mlp_out or resid_post")
    n_features: int | None = Field(default=None, ge=2, description=f"width of the dictionary (default: {EXPANSION} for every dimension of the model)")
    k: int = Field(default=16, ge=1, description="features that fire per token, at most")
    steps: int = Field(default=800, ge=1, description="optimiser steps")
    batch_size: int = Field(default=1024, ge=2, description="tokens per step")
    lr: float = Field(default=3e-3, gt=0, allow_inf_nan=False, description="learning rate of Adam, falling to 0 over the last fifth")
    k_aux: int = Field(default=32, ge=1, description="dead features that reconstruct what is left over, per token, so that they come back")
    max_tokens: int = Field(default=200_000, ge=20, description="tokens to train on at most, drawn evenly over the texts")
    memory_gib: float = Field(
        default=4.0, gt=0, allow_inf_nan=False, exclude=True, description="activations of a layer larger than this are read from disk; changes no result"
    )


@dataclass(frozen=True)
class Trained:
    """An autoencoder in the units of the activations, and how its training went."""

    sae: Sae
    losses: tuple[float, float]


class TrainSae(Extractor[tuple[int, ...]]):
    """`train-sae`: one TopK autoencoder a layer, trained on all token positions of prompts and completions; weights in the user's cache.

    Activations of all layers are read in one go and staged on disk beside the weights until the last layer is trained; memory holds those of one layer at
    most, and no more than `memory_gib` of them. All layers are one part of the run: a killed one finds staged activations and finished layers in the cache.
    """

    name = TRAINER
    reads_tokens = reads_both = True
    spreads = False  # the weights go to the cache of this machine
    version = 2
    kind: Kind = "train"  # type: ignore[misc]
    settings_type = SaeSettings
    settings: SaeSettings

    @classmethod
    def workload(cls, settings: SaeSettings, texts: Texts, shape: Shape) -> Workload:
        read = min(texts.tokens, settings.max_tokens)
        return Workload(read + settings.steps * settings.batch_size, {"sae": shape.layers(settings.layers)})

    @cached_property
    def tokens(self) -> TokensRun | None:
        return None if self.job.tokens_from is None else read_tokens(self.job.lake, self.job.tokens_from)

    @cached_property
    def prompts(self) -> PromptSet | None:
        if self.job.prompts is None and self.job.tokens_from is None:
            raise PersonascopeError(f"{self.name}: no texts to train on; expected --prompts NAME, --tokens-from RUN or both")
        return self.job.prompts

    @cached_property
    def layers(self) -> list[int]:
        return chosen_layers(self.name, self.job.checkpoint, self.settings.layers)

    @property
    def n_features(self) -> int:
        return self.settings.n_features or EXPANSION * self.job.checkpoint.d_model

    def spec(self) -> RunSpec:
        if self.settings.k >= self.n_features:
            raise PersonascopeError(f"{self.name}: k is {self.settings.k}; expected less than the {self.n_features} features")
        prompts, tokens = self.prompts, self.tokens
        identity = {
            "settings": self.settings.model_dump(mode="json") | {"layers": self.layers, "n_features": self.n_features},
            "prompts": prompts.content_hash if prompts else None,
            "tokens_run": tokens.run_id if tokens else None,
        }
        return self.base_spec(
            identity,
            subject=self.job.checkpoint.name,
            inputs=[tokens.run_id] if tokens else [],
            prompt_set=prompts.label if prompts else None,
            prompt_set_hash=prompts.content_hash if prompts else None,
        )

    def prepare(self) -> tuple[Sequence[Item[tuple[int, ...]]], Mapping[str, Rows]]:
        self._seconds: dict[str, float] = {}
        if self.n_features < (width := self.job.checkpoint.d_model):
            self.job.say(
                f"{self.name}: {self.n_features} features are fewer than the {width} dimensions of {self.job.checkpoint.name}, so they compress and "
                f"cannot pull apart what it holds in superposition; `--set n_features={EXPANSION * width}` has {EXPANSION} for every dimension"
            )
        return [Item("layers", 1, tuple(self.layers))], {"checkpoints": [self.job.checkpoint.row()]}

    def process(self, items: Sequence[Item[tuple[int, ...]]]) -> Mapping[str, Rows]:
        run_id = self.spec().run_id
        try:
            with torch.inference_mode(False):
                trained = [self._trained(run_id, layer) for item in items for layer in item.value]
        except PersonascopeError:
            self._unstage()  # other settings are another run, which would not find it
            raise
        self._unstage()
        return {"sae": trained}

    def _unstage(self) -> None:
        if staged := built(self._staging_key):
            shutil.rmtree(staged)

    def _trained(self, run_id: str, layer: int) -> dict[str, Any]:
        """The row of one autoencoder, which is trained unless the cache has it."""
        what = f"autoencoder of {self.job.checkpoint.name}, layer {layer}"
        folder = build_once(trained_folder(run_id, layer), what, partial(self._build, layer))
        sae, revision = load_sae(folder, layer), content_hash(folder)
        return {
            "sae_id": f"{self.job.checkpoint.name}-{layer}-{revision[:8]}",
            "layer": layer,
            "site": sae.site,
            "source": run_id,
            "revision": revision,
            "format": sae.format,
            "architecture": sae.architecture,
            "k": sae.k,
            "n_features": sae.n_features,
            "d_model": sae.d_model,
            "inference": sae.rule("auto"),
            **sae.figures,
        }

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for layer in self.layers:
            if folder := built(trained_folder(writer.run_id, layer)):
                told = json.loads((folder / FILES["personascope"][0]).read_text(encoding="utf-8"))
                figures |= {f"{name}.{layer}": told[name] for name in ("explained_variance", "l0", "dead_share", "first_loss", "last_loss")}
                figures["n_tokens"] = told["n_tokens"]
        return {"layers": self.layers, "site": self.settings.site, "n_features": self.n_features, "k": self.settings.k, **figures, **self._seconds}

    def _build(self, layer: int, folder: Path) -> None:
        started = time.monotonic()
        staged = build_once(self._staging_key, f"activations of {self.job.checkpoint.name}", self._stage)
        n = staged_file(staged, layer).stat().st_size // (4 * self.job.checkpoint.d_model)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(stable_seed("sae order", self.job.seed)))
        pool = staged_pool(staged, layer, self.job.checkpoint.d_model, order, self.settings.memory_gib * 2**30)
        held_out = torch.arange(n) % HELD_OUT == 0  # the pool is in random order
        settings = self.settings.model_copy(update={"n_features": self.n_features})
        trained = train(pool.part(~held_out), settings, stable_seed("sae", self.job.seed, layer), str(self.loaded.device), f"sae · layer {layer}")
        figures = reconstruction(trained.sae, pool.part(held_out), pool.part(~held_out))
        if not all(torch.tensor(list(figures.values())).isfinite()):
            raise PersonascopeError(f"{self.name}: layer {layer} gives no finite reconstruction (lr {self.settings.lr:g}); expected a smaller lr")
        if n_massive := int((massive := held_out & massive_tokens(pool)).sum()):
            ordinary = reconstruction(trained.sae, pool.part(held_out & ~massive), pool.part(~held_out))["explained_variance"]
            self._seconds |= {f"n_massive.{layer}": n_massive, f"explained_variance_ordinary.{layer}": ordinary}
            self.job.say(
                f"{self.name}: layer {layer}: {n_massive} of {int(held_out.sum())} tokens held out are more than {MASSIVE} times as long as the median one "
                "(massive activations, as the first of a text often has), so explained_variance is mostly theirs: "
                f"{figures['explained_variance']:.3f}, and {ordinary:.3f} without them"
            )
        sae = Sae(**{**trained.sae.__dict__, "layer": layer, "site": self.settings.site, "figures": figures})
        first, last = trained.losses
        save_sae(folder, sae, checkpoint=self.job.checkpoint.id, checkpoint_revision=self.job.checkpoint.revision, first_loss=first, last_loss=last)
        self._seconds[f"seconds.{layer}"] = round(time.monotonic() - started, 2)  # of this process: not among the facts that are hashed

    def _texts(self) -> list[tuple[int, ...]]:
        texts = [render(self.tokenizer, each.system_prompt, each.question).token_ids for each in (self.prompts.prompts if self.prompts else ())]
        if self.tokens is not None:
            check_same_tokens(self.job.checkpoint, self.tokenizer, self.tokens)
            rows = self.tokens.rows.unique(["example_id", "sample_ix"], keep="first", maintain_order=True)
            texts += [tuple(ids) for ids in rows.sort("example_id", "sample_ix")["token_ids"].to_list()]
        return list(dict.fromkeys(texts))

    @property
    def _staging_key(self) -> str:
        return f"activations-{self.spec().run_id}"

    def _stage(self, folder: Path) -> None:
        """The activations of every wanted layer, a file each; a token that several texts share with all before it counts once."""
        texts = self._texts()
        wanted = _distinct_positions(texts, self.settings.max_tokens, stable_seed("sae tokens", self.job.seed))
        needed, free = needed_bytes(sum(map(len, wanted)), self.layers, self.job.checkpoint.d_model), shutil.disk_usage(folder).free
        if needed > free:
            raise PersonascopeError(
                f"{self.name}: the activations of {len(self.layers)} layers take {needed / 2**30:.1f} GiB in {folder.parent}, where "
                f"{free / 2**30:.1f} GiB are free; expected fewer layers, a smaller max_tokens, or another folder in PERSONASCOPE_CACHE"
            )
        stream = residual_stream(self.loaded.model, [self.settings.site])
        items = [Item(f"{number:09d}", len(ids), (number,)) for number, ids in enumerate(texts) if wanted[number]]
        with ExitStack() as stack:
            files: dict[int, BinaryIO] = {layer: stack.enter_context(staged_file(folder, layer).open("wb")) for layer in self.layers}
            advance = stack.enter_context(progress(f"{self.name} · {self.job.checkpoint.name}", len(items)))
            with torch.inference_mode():
                for batch in cut_batches(items, self.job.batch_tokens):
                    self._read(stream, [(texts[item.value[0]], wanted[item.value[0]]) for item in batch], files)
                    advance(len(batch))

    def _read(self, stream: ResidualStream, batch: Sequence[tuple[tuple[int, ...], list[int]]], files: dict[int, BinaryIO]) -> None:
        lengths = torch.tensor([len(ids) for ids, _ in batch])
        width = int(lengths.max())
        tokens = torch.zeros((len(batch), width), dtype=torch.long)
        positions = torch.full((len(batch), max(len(wanted) for _, wanted in batch)), -1)
        for row, (ids, wanted) in enumerate(batch):
            tokens[row, : len(ids)] = torch.tensor(ids)
            positions[row, : len(wanted)] = torch.tensor(wanted)
        device = stream.model.device
        staged = StagedCapture(positions, None, files=files)
        with capturing(stream.blocks, self.layers, [self.settings.site], positions, capture=staged):
            run_decoder(stream.model, tokens.to(device), right_padded(lengths, width).to(device))


def _distinct_positions(texts: Sequence[tuple[int, ...]], most: int, seed: int) -> list[list[int]]:
    """Positions of each text whose tokens so far no earlier text begins with; at most `most` in all, drawn evenly."""
    seen: set[int] = set()
    found: list[tuple[int, int]] = []
    for number, ids in enumerate(texts):
        prefix = 0
        for position, token in enumerate(ids):
            prefix = hash((prefix, token))
            if prefix not in seen:
                seen.add(prefix)
                found.append((number, position))
    if len(found) > most:
        chosen = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:most].sort().values.tolist()
        found = [found[index] for index in chosen]
    wanted: list[list[int]] = [[] for _ in texts]
    for number, position in found:
        wanted[number].append(position)
    return wanted


def train(activations: Pool, settings: SaeSettings, seed: int, device: str, title: str) -> Trained:
    """A TopK autoencoder of activations: Adam on the squared error, decoder rows of length 1, dead features revived by an auxiliary loss.

    As in Gao et al., "Scaling and evaluating sparse autoencoders" (2024): encoder started as the decoder's transpose, features that did not fire for
    DEAD_AFTER steps reconstruct the residual with weight 1/32. Inputs are centred and scaled to a mean square of 1, which is undone in the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    n, d, n_features = len(activations), activations.width, settings.n_features or EXPANSION * activations.width
    if n < 2:
        raise PersonascopeError(f"{title}: {n} tokens to train on, expected at least 2")
    mean, squares = activations.moments()
    if not bool(mean.isfinite().all()):
        raise PersonascopeError(f"{title}: activations are not finite; expected another dtype (--dtype)")
    centre, scale = mean.float(), max((squares / (n * d)) ** 0.5, torch.finfo(torch.float32).tiny)
    decoder = unit_rows(torch.randn(n_features, d, generator=generator)).to(device).requires_grad_()
    encoder = decoder.detach().clone().requires_grad_()
    b_enc, b_dec = torch.zeros(n_features, device=device, requires_grad=True), torch.zeros(d, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([encoder, decoder, b_enc, b_dec], lr=settings.lr, betas=(0.9, 0.999))
    falling = max(1, settings.steps // 5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (settings.steps - step) / falling))
    silent = torch.zeros(n_features, dtype=torch.long, device=device)
    losses: list[float] = []
    with progress(title, settings.steps, 0) as advance, torch.enable_grad():
        for _ in range(settings.steps):
            index = torch.randint(n, (min(settings.batch_size, n),), generator=generator)
            x = ((activations.take(index) - centre) / scale).to(device)
            pre = (x - b_dec) @ encoder.T + b_enc
            left, fired = _left_over(x - b_dec, pre, decoder, settings.k)
            loss = left.pow(2).mean()
            losses.append(float(loss.detach()))
            dead = silent >= DEAD_AFTER
            n_dead = int(dead.sum())
            if n_dead:
                again, _ = _left_over(left.detach(), pre.masked_fill(~dead, -torch.inf), decoder, min(settings.k_aux, n_dead))
                loss = loss + AUXILIARY_WEIGHT * again.pow(2).mean() / left.detach().pow(2).mean().clamp(min=1e-12)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([encoder, decoder, b_enc, b_dec], 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                decoder.copy_(unit_rows(decoder))
                silent = torch.where(fired, 0, silent + 1)
            advance()
    sae = Sae(
        format="personascope",
        architecture="topk",
        encoder=Matrix(encoder.detach().cpu()),
        decoder=Matrix(decoder.detach().cpu()),
        b_enc=b_enc.detach().cpu() * scale,
        b_dec=b_dec.detach().cpu() * scale + centre,
        k=settings.k,
    )
    return Trained(sae, (losses[0], losses[-1]))


def massive_tokens(pool: Pool) -> Tensor:
    """Which rows of a pool are longer than MASSIVE times the median one, boolean [n]. Sun et al. 2024, Massive Activations in Large Language Models."""
    lengths = torch.cat([block.double().norm(dim=1) for block in pool.blocks()])
    return lengths > MASSIVE * lengths.median()


def _left_over(target: Tensor, pre: Tensor, decoder: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What the k largest pre-activations of each row do not reconstruct [n, d], and which features fired [n_features]."""
    values, index = pre.topk(k, dim=1)
    values = values.relu()
    dense = torch.zeros_like(pre).scatter(1, index, values)
    return target - dense @ decoder, (dense.detach() > 0).any(0)


def reconstruction(sae: Sae, held_out: Pool, training: Pool) -> dict[str, float]:
    """How good an autoencoder is, with the code that encodes everywhere else: figures of the table `sae` by name.

    explained_variance and l0 on held-out activations, the variance being that around their own mean; dead_share: features that fire on no training one.
    """
    fires = torch.zeros(sae.n_features, dtype=torch.bool)
    rule = sae.rule("auto")
    for part in training.blocks():
        fires[encode(sae, part, rule).feature] = True
    left, active = 0.0, 0
    for part in held_out.blocks():
        encoded = encode(sae, part, rule)
        left += float((part - decode(sae, encoded, len(part))).double().pow(2).sum())
        active += len(encoded.value)
    _, total = held_out.moments()
    return {
        "l0": active / len(held_out),
        "explained_variance": 1 - left / total if total else float("nan"),
        "dead_share": float((~fires).double().mean()),
        "n_tokens": len(training),
    }
