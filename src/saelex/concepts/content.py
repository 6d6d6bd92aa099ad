"""Content words: those that say what a text is about, apart from function words, signs and lone letters.

Labels are made of them, and a latent that fired at another word is shown with the strongest of them.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from saelex.encoder.words.analyser import MARKS, WordAnalyser
from saelex.encoder.words.languages import AUTO, PLAIN, with_rules
from saelex.encoder.words.scripts import UNSPACED, is_unspaced
from saelex.encoder.words.telling import told_language

# a negated verb ("don't", "won't"), a character of an unspaced script, a word, or any other character but a space
TOKEN = re.compile(rf"(?<!\w)[a-zA-Z]+n['’]t(?!\w)|[{UNSPACED}]|[^\W{UNSPACED}](?:[^\W{UNSPACED}]|[{MARKS}])*|[^\w\s]")
# What of a script without spaces no word is cut in: a word of Hangul, and with any other letter the vowel that is
# written before it, the vowels, tones and marks after it, and the letters below it.
UNIT = re.compile(
    rf"[\uac00-\ud7af]+|[\u0e40-\u0e44\u0ec0-\u0ec4]?(?P<letter>[{UNSPACED}])(?:(?<=[\u1039\u17d2])[{UNSPACED}]|"
    "[\u0e30-\u0e3a\u0e45-\u0e4e\u0eb0-\u0ebc\u0ec6-\u0ece\u102b-\u103e\u17b4-\u17d3\u30fc])*"
)
_BARE_CONSONANT = re.compile("[\u0e01-\u0e2e\u0e81-\u0eae]")
_HAN_OR_KANA = re.compile("[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]\u30fc?")
_LONGEST_SPELT = 4  # characters; a tokenizer that spells more of them in a row spells all
_APOSTROPHE = re.compile("['’]")
_NEGATED = re.compile(r"[a-z]+n['’]t")

# Function words that say nothing in a label, beside the stop words of the language's exact words: a search may need
# them. Of languages without a list of stop words, the most frequent ones.
_FUNCTION_WORDS = {
    "en": (
        "also although among another cannot could done either else etc even ever every hence however indeed instead "
        "least less like made make makes many may might much must neither never often one others otherwise per perhaps "
        "quite rather said several shall since still therefore though thus together toward towards upon us via well "
        "whether whose within without would yet"
    ),
    "ar": "في من على إلى عن أن إن ما لا هذا هذه ذلك التي الذي هو هي كان كانت مع أو ثم قد لم لن كل بين بعد قبل عند و",
    "ca": "el la els les un una de del dels i a al als en amb per que no es és o com més però si ho hi ha va són seu",
    "el": "ο η το οι τα του της των τον την τους τις στο στη στην στον και να με σε για από που δεν είναι θα ως ή αυτό",
    "et": "ja on ei et see oli kui aga ka mis ta oma või selle kes nii siis ning üle ma sa me te nad olid välja veel",
    "eu": "eta da ez du dira zen bat hau hori ere baina edo egin izan dute ditu zuen den dela bere horrek beste nola",
    "fi": (
        "ja on ei se että oli hän ne ovat myös kun mutta tai joka jotka mitä niin kuin jos sen en et hänen olla ole "
        "sekä vain siitä siinä tämä nämä mikä minkä missä"
    ),
    "ga": "an na agus is ar i le de do a go ag as bhí tá ní nach ach seo sin sé sí iad mar ón den don faoi cad conas",
    "zh": (
        "这个 那个 什么 怎么 怎样 如何 为什么 因为 所以 但是 可以 没有 我们 你们 他们 自己 以及 或者 如果 不是 还是 "
        "一个 一些 这些 那些 哪些 哪个 其中 由于 对于 关于 是否 多少 這個 那個 什麼 怎麼 為什麼 因為 沒有 我們 你們 "
        "他們 這些 由於 對於 關於"
    ),
    "ja": (
        "です ます ある いる する こと もの これ それ あれ この その あの どの どこ なぜ どう どのように ため よう "
        "から まで より など という として について により ている ました でした である された して した ない なる "
        "なった ですか ますか"
    ),
    "ko": (
        "그리고 그러나 하지만 또는 있는 있다 있습니다 어떻게 무엇 무엇을 언제 어디 누가 어떤 하는 되는 위해 대한 "
        "대해 때문에 또한 같은 입니다 합니까 무엇입니까"
    ),
    "th": (
        "ที่ และ ของ ใน เป็น มี ได้ ให้ ว่า จะ ไม่ การ ความ จาก กับ โดย นี้ นั้น หรือ แต่ ก็ ซึ่ง เพราะ อย่างไร อะไร ทำไม เมื่อ ไหน ใคร "
        "คือ ถูก ต้อง แล้ว อยู่ ไป มา ยัง เพื่อ ตาม ด้วย กัน ขึ้น เช่น ทั้ง อย่าง"
    ),
    "hi": "और का के की में है हैं को से पर ने यह वह था थी थे एक कि जो तो भी ही नहीं या कर लिए इस उस ये वे अपने क्या",
    "hu": "a az és hogy nem is egy ez ezt azt van volt de meg ha csak vagy mint már el ki ami aki még mi milyen hol",
    "hy": "և եւ է են ու որ այս այդ այն մի ին ից ում չէ եմ ես էր էին համար հետ մեջ բայց կամ նա իր թե ինչ",
    "id": (
        "yang dan di ke dari ini itu untuk dengan pada adalah tidak dalam atau oleh juga akan ada karena sebagai bisa "
        "saya anda kami dia mereka telah lebih apa bagaimana"
    ),
    "lt": "ir yra kad į iš su tai o bet ne jis ji kaip buvo ar nuo už apie per po dėl šis ši tas ta kuris kas kur",
    "ne": "र छ को मा का की ले लाई यो त्यो पनि हो थियो छन् गर्न भने तर बाट एक नै के कसरी",
    "ro": (
        "și si în in de la cu pe un o nu că ca este sunt din pentru mai sau dar care se al ale ai lui era fi au am să "
        "ce cum unde"
    ),
    "sr": "и је у на да се за од са су као не а али или који која које то овај из до по што i je u na da se za od su",
    "ta": "ஒரு என்று மற்றும் இந்த அந்த அது இது என உள்ள ஆகும் என்ன எப்படி ஆனால் அல்லது தான் இல்லை",
    "vi": "và của là có trong được một các những cho với không này đó đã từ ở cũng như khi để theo vào ra hay hoặc nào",
    "yi": "און איז די דער דאס אין פון צו אז ניט נישט א אן האט מיט אויף ווי וואס ער זי עס זיי",
}
# Particles of the unspaced scripts, under every code: the script tells.
_PARTICLES = frozenset(
    "的了是在和与與及也就都而之着著或被把這这那很于於はがのをにへとでもやかねよたてだしれるすなり는은을를"
)
# The fragments of contractions in the lists of stop words that are words of their own, too: "won't", "don't", "ma'am".
_WORDS_OF_THEIR_OWN = {"en": frozenset({"won", "don", "ma"})}


class ContentWords:
    """Which words of a language say what a text is about: `is_content = ContentWords("en")`, `is_content("wing")`.

    language: as in `LexicalSettings`. Under "none" and "auto", which leave Latin letters undecided, the function words
    of English count beside those of every other script. Raises InputError for an unknown language.
    """

    def __init__(self, language: str) -> None:
        self._function_words = _function_words(language)

    def __call__(self, word: str) -> bool:
        """Whether the word says something, in whatever case; "wing's" does as "wing", "don't" does not."""
        lower = unicodedata.normalize("NFC", word).lower()
        return not _NEGATED.fullmatch(lower) and any(map(self._says_something, _APOSTROPHE.split(lower)))

    def _says_something(self, part: str) -> bool:
        if not any(map(str.isalnum, part)) or part in self._function_words or part in _PARTICLES:
            return False
        return len(part) > 1 or is_unspaced(part)


content_words = cache(ContentWords)
"""The content words of a language, made once."""


def content_words_in(text: str, language: str) -> ContentWords:
    """The content words of a text whose words are cut by this language's rules: under "auto", of the one it tells."""
    return content_words(with_rules(told_language(text) or AUTO) if language == AUTO else language)


def words_in(text: str, pieces: Iterable[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """Characters [start, end) of every word, sign and negated verb of a text, in order.

    pieces: of a tokenizer, in characters [start, end), which tell the words of scripts without spaces; each of their
    letters is one elsewhere.
    """
    words = [match.span() for match in TOKEN.finditer(text)]
    told = [] if text.isascii() else sorted({(start, end) for start, end in pieces if start < end})
    if not told:
        return words
    return sorted([*(word for word in words if not is_unspaced(text[word[0]])), *_unspaced_words(text, told)])


class _Word(NamedTuple):
    start: int
    end: int
    spelt: bool
    """A character of Han or kana that is a piece of its own and no particle."""


def _unspaced_words(text: str, pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """A piece is a word, cut where letters may be; of a word that the tokenizer has not, the characters together.

    Those are up to _LONGEST_SPELT neighbours of Han or kana that are pieces of their own, and a consonant of Thai or
    Lao, which no word is, with what stands before it. Words of Hangul end at the spaces.
    """
    starts = [start for start, _ in pieces]
    runs: list[list[_Word]] = []
    before = -1
    for unit in UNIT.finditer(text):
        start, end = unit.span()
        letter = max(start, unit.start("letter"))
        at = bisect_right(starts, letter) - 1
        piece = at if at >= 0 and letter < pieces[at][1] else -1
        alone = piece >= 0 and pieces[piece][1] <= end
        last = runs[-1][-1] if runs and runs[-1][-1].end == start else None
        spelt = alone and unit.group() not in _PARTICLES and _HAN_OR_KANA.fullmatch(unit.group()) is not None
        if last and piece >= 0 and (piece == before or (alone and _BARE_CONSONANT.fullmatch(unit.group()))):
            runs[-1][-1] = _Word(last.start, end, False)
        elif last and last.spelt and spelt:
            runs[-1].append(_Word(start, end, True))
        else:
            runs.append([_Word(start, end, spelt)])
        before = piece
    words: list[tuple[int, int]] = []
    for run in runs:
        words += [(run[0].start, run[-1].end)] if len(run) <= _LONGEST_SPELT else [word[:2] for word in run]
    return words


@cache
def _function_words(language: str) -> frozenset[str]:
    if language in (PLAIN, AUTO):
        others = (words.split() for words in _FUNCTION_WORDS.values() if not words[0].isascii())
        return _function_words("en") | _function_words("ru") | frozenset().union(*others)
    words = WordAnalyser(language).stop_words(language) | frozenset(_FUNCTION_WORDS.get(language, "").split())
    return words - _WORDS_OF_THEIR_OWN.get(language, frozenset())
