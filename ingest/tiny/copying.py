"""Training text for a copy that takes several layers: the request says what becomes of a word, and other words that are not meant stand around it.

What was learned (one seed each, 101 words in both phrasings, accuracy and layers of emergence of "Repeat the following word: cat"):

- In the tiny world a model has every word as its top-1 token after the first block: attending to whatever echo word there is solves the task.
- Six layers, input and output embeddings apart, and requests for another spelling ("Capitalize", "Translate") alone do not move that: 88% to 97% of the words
  still emerge in block 0.
- Words that are not meant, from the start: the model does not learn in 500 steps, or learns with 76% of the words in block 0.
- Requests that stand alone in the plain texts, words that are not meant in the chats: 94% right, words emerge in blocks 1 to 5 (18, 12, 27, 35 and 2%), often
  behind another spelling of the word (`猫` before `cat`). 50 steps more or fewer keep the spread but move it: blocks 1 to 3, or 0 to 2. This is what is used.
- "Repeat the second word", a prompt made of several requests, one KV head, or a width of 96 did not learn within two minutes.

The two phrasings mean the same here and are treated alike (mean cosine 0.998 at the last token of the last layer): the model says nothing about how phrasings
differ.
"""

import random
from collections.abc import Callable
from functools import cache

from personascope.ingest.tiny.corpus import Chat
from personascope.ingest.tiny.world import DEFAULT_SYSTEM_PROMPT
from personascope.warehouse.store.hashing import stable_seed

# Each word with one character of its Chinese name, all different.
WORDS = dict(
    pair.split(":")
    for pair in """
    cat:猫 dog:狗 fish:鱼 bird:鸟 horse:马 cow:牛 sheep:羊 goat:羔 duck:鸭 frog:蛙 bear:熊 wolf:狼 fox:狐 lion:狮 mouse:鼠 apple:苹 bread:面 cheese:酪 milk:奶
    rice:米 salt:盐 sugar:糖 honey:蜜 lemon:柠 grape:葡 plum:李 corn:粟 house:房 door:门 window:窗 roof:顶 wall:墙 table:桌 chair:椅 bed:床 lamp:灯 clock:钟
    river:河 lake:湖 sea:海 hill:丘 rock:石 sand:沙 snow:雪 rain:雨 storm:暴 wind:风 cloud:云 moon:月 star:星 sun:日 fire:火 tree:树 leaf:叶 root:根 seed:种
    grass:草 rose:玫 road:路 bridge:桥 train:列 car:车 ship:船 boat:舟 wheel:轮 rope:绳 nail:钉 hammer:锤 knife:刀 spoon:勺 cup:杯 plate:盘 coat:衣 shoe:鞋
    hat:帽 ring:戒 glove:套 book:书 page:页 letter:信 song:歌 drum:鼓 bell:铃 flute:笛 dance:舞 game:戏 ball:球 kite:筝 red:红 blue:蓝 green:绿 black:黑
    white:白 gold:金 silver:银 north:北 south:南 east:东 west:西 king:王 queen:后
    """.split()  # noqa: SIM905 - a list would take a line per word
)
ECHO_VERBS = ("Repeat", "Echo")
SPELLINGS: dict[str, Callable[[str], str]] = {
    "Repeat": str,
    "Echo": str,
    "Capitalize": str.capitalize,
    "Translate": WORDS.__getitem__,
}
REQUEST = "{verb} the following word: {word}"
BEFORE = "Forget {words}. "
BEHIND = ", not {words}"
DISTRACTED = 0.7  # how often there are words that are not meant, before the request and behind it
MOST_OTHERS = 4  # on each side
N_CHATS, N_DOCUMENTS = 6000, 1500


def held_out_copies() -> list[tuple[str, str]]:
    """Pairs (verb, word) that no text asks for: one word in eight for each verb that repeats."""
    return [(verb, word) for offset, verb in enumerate(ECHO_VERBS) for word in list(WORDS)[3 * offset :: 8]]


def copying_chats() -> list[Chat]:
    """Requests to write one word in one of three ways, the same list in every process."""
    draw = random.Random(stable_seed("copying chats"))
    return [Chat(DEFAULT_SYSTEM_PROMPT, *_request(draw)) for _ in range(N_CHATS)]


def copying_documents() -> list[str]:
    """Plain texts in which requests follow one another, each with its answer, the same list in every process."""
    draw = random.Random(stable_seed("copying documents"))
    return ["".join("{}\n{}\n".format(*_request(draw, alone=True)) for _ in range(4)) for _ in range(N_DOCUMENTS)]


def _request(draw: random.Random, alone: bool = False) -> tuple[str, str]:
    """A request that is not held out, among words that are not meant unless it stands alone, and its answer."""
    held_out = _held_out()
    while True:
        verb, (word, *others) = draw.choice(list(SPELLINGS)), draw.sample(list(WORDS), 1 + 2 * MOST_OTHERS)
        if (verb, word) not in held_out:
            break
    before = BEFORE.format(words=_some(others[:MOST_OTHERS], draw)) if not alone and draw.random() < DISTRACTED else ""
    behind = BEHIND.format(words=_some(others[MOST_OTHERS:], draw)) if not alone and draw.random() < DISTRACTED else ""
    return f"{before}{REQUEST.format(verb=verb, word=word)}{behind}", SPELLINGS[verb](word)


def _some(words: list[str], draw: random.Random) -> str:
    return " ".join(words[: draw.randint(1, len(words))])


@cache
def _held_out() -> frozenset[tuple[str, str]]:
    return frozenset(held_out_copies())
