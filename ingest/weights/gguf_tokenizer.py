"""The tokenizer in a GGUF file, as transformers reads it, written as tokenizer.json and proved by reading it back."""

import tempfile
from pathlib import Path
from typing import Any

from personascope.ingest.weights.gguf_file import GgufFile
from personascope.ingest.weights.vocabulary import check_vocabulary
from personascope.warehouse.errors import PersonascopeError, one_line

PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "  two spaces, a\ttab\n\nand  a paragraph\r\n",
    "In 2024, 3.14159 was 1,000,000% off: don't ask why!",
    "def f(x):\n    return {'a': [x ** 2, x // 3]}  # comment",
    "Ünïcödé, ελληνικά, русский, 日本語, العربية, हिन्दी, 🙂👍🏽",
    "ALLCAPS CamelCase snake_case it's we're I'LL e\u0301 \u00a0 \u200b",
    "",
)
_COMPOSED = {"qwen2"}  # vocabularies whose tokenizers compose characters first (NFC), which no file says
_SPLITS_AS_GPT2 = {"gpt-2", "smollm"}  # smollm also splits digits, which its merges never join


def write_tokenizer(file: GgufFile, folder: Path, rows: int) -> None:
    """Write the file's tokenizer into `folder`, beside the config.json of the model, whose embedding has `rows` rows.

    Raises PersonascopeError for a tokenizer that transformers cannot read, that does not fit the embedding, or that reads back as another one: every token,
    the special ones, the template, and the tokens of a set of texts have to be the same.
    """
    tokenizer = _read(file)
    where = f"{file.path}: its tokenizer"
    check_vocabulary(tokenizer, rows, where)
    tokenizer.save_pretrained(folder)
    if difference := _difference(tokenizer, folder):
        raise PersonascopeError(f"{where}, saved and read again, differs in {difference}: transformers cannot keep it.")


def _read(file: GgufFile) -> Any:
    """The tokenizer by transformers, in the plain class whose files say all there is to it, with the beginning-of-text token that the file asks for."""
    from tokenizers.normalizers import NFC
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    _refuse_unknown_splits(file)
    with tempfile.TemporaryDirectory() as alone:  # where no other tokenizer's files lie beside it
        (Path(alone) / "model.gguf").symlink_to(file.path.resolve())
        try:
            read = AutoTokenizer.from_pretrained(alone, gguf_file="model.gguf", local_files_only=True)
        except Exception as error:  # a vocabulary that is none surfaces as whatever the tokenizer's own parser raises
            raise PersonascopeError(f"{file.path}: its tokenizer cannot be read by transformers ({one_line(error)}).") from error
    special = {name: token for name, token in read.special_tokens_map.items() if isinstance(token, str)}
    if file.settings.get("tokenizer.ggml.pre") in _COMPOSED:
        read.backend_tokenizer.normalizer = NFC()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=read.backend_tokenizer, **special)
    tokenizer.chat_template = read.chat_template
    tokenizer.add_bos_token = bool(tokenizer.bos_token) and _begins_texts(file)  # type: ignore[misc]
    return tokenizer


def _begins_texts(file: GgufFile) -> bool:
    """Whether the beginning-of-text token stands before every text: said by the file, else true of SentencePiece and Llama 3 vocabularies."""
    settings = file.settings
    usual = settings.get("tokenizer.ggml.model") == "llama" or settings.get("tokenizer.ggml.pre") in ("llama-bpe", "llama3", "llama-v3")
    return bool(settings.get("tokenizer.ggml.add_bos_token", usual))


def _refuse_unknown_splits(file: GgufFile) -> None:
    """A byte-level vocabulary whose text is split by an unknown rule would give other tokens without a word."""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError as error:
        raise PersonascopeError(f"{file.path}: this transformers does not know how GGUF vocabularies split text ({one_line(error)}): install 5.19.") from error
    split = file.settings.get("tokenizer.ggml.pre")
    if file.settings.get("tokenizer.ggml.model") == "gpt2" and split not in {*_SPLITS_AS_GPT2, *GGUF_PRE_TOKENIZER_SPLITS}:
        raise PersonascopeError(f"{file.path}: its vocabulary splits text by the rule {split!r} (tokenizer.ggml.pre), which transformers does not know.")


def _difference(tokenizer: Any, folder: Path) -> str | None:
    """What the tokenizer in `folder` does otherwise than `tokenizer`; None where nothing."""
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if len(again) != len(tokenizer):
        return f"its size ({len(again)} for {len(tokenizer)} tokens)"
    if again.get_vocab() != tokenizer.get_vocab():
        return "its tokens"
    # A class of transformers' own may name one of them as its unknown token besides.
    if not tokenizer.special_tokens_map.items() <= again.special_tokens_map.items() or _special(again) != _special(tokenizer):
        return "its special tokens"
    if again.chat_template != tokenizer.chat_template:
        return "its chat template"
    for text in (*PROBES, " ".join(tokenizer.all_special_tokens)):
        for special in (True, False):
            ids = tokenizer.encode(text, add_special_tokens=special)
            if again.encode(text, add_special_tokens=special) != ids:
                return f"the tokens of {text[:30]!r}"
            if again.decode(ids) != tokenizer.decode(ids):
                return f"the text of the tokens of {text[:30]!r}"
    return None


def _special(tokenizer: Any) -> set[int]:
    """The ids of every token that is special, whether it has a role or not."""
    return set(tokenizer.all_special_ids) | {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
