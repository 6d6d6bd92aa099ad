"""Content words: those that say what a text is about, apart from function words, signs and lone letters.

Labels are made of them, and a latent that fired at another word is shown with the strongest of them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from saelex.encoder.words.analyser import MARKS, WordAnalyser
from saelex.encoder.words.languages import AUTO, PLAIN
from saelex.encoder.words.scripts import UNSPACED, is_unspaced

# a negated verb ("don't", "won't"), a character of an unspaced script, a word, or any other character but a space
TOKEN = re.compile(rf"(?<!\w)[a-zA-Z]+n['’]t(?!\w)|[{UNSPACED}]|[^\W{UNSPACED}](?:[^\W{UNSPACED}]|[{MARKS}])*|[^\w\s]")
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


@cache
def _function_words(language: str) -> frozenset[str]:
    if language in (PLAIN, AUTO):
        others = (words.split() for words in _FUNCTION_WORDS.values() if not words[0].isascii())
        return _function_words("en") | _function_words("ru") | frozenset().union(*others)
    words = WordAnalyser(language).stop_words(language) | frozenset(_FUNCTION_WORDS.get(language, "").split())
    return words - _WORDS_OF_THEIR_OWN.get(language, frozenset())
