"""The extractive reader's word lists, English and Turkish, folded (lower case, no accents)."""

from __future__ import annotations

from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STOP_WORDS: Final = {
    "en": _set(
        "a an the and or but nor if then than so as of in on at by for from to into onto over under with without within about is are was "
        "were be been being am do does did done doing have has had having will would shall should can could may might must it its he she "
        "his her him they them their we our us you your i my me this that these those there here which what who whom whose when where why "
        "how not no also very such some any all each both more most other same own only just too s t d ll re ve name many much "
        "happen happens happened"
    ),
    "tr": _set(
        "ve veya ya da de ile ki bir bu su o onun onu ona onlar onlarin biz siz ben sen icin gibi kadar daha en cok az her hic bazi tum "
        "butun ne nedir neydi nelerdir neyi neye neyin neden nicin niye nasil hangi hangisi kac kaci kim kimdir kimdi kimin kime kimi "
        "nerede nereye nereden nerededir mi mu midir mudur misin olan olarak oldu olur olmustur olmak oldugu oldugunu olmasi edildi eden "
        "etmek etti etmistir edilir ise idi var vardir vardi yok degil degildir ancak fakat ama cunku sonra once gore tarafindan uzerinde "
        "uzere ayrica hem bile sadece diger ayni sey tane zaman yilinda ettigi icinde karsi"
    ),
}
ENGLISH_HINTS: Final = _set("the a an is are was were what which who how when where why does do did of in to and for it by on with from")
TURKISH_HINTS: Final = _set(
    "ve bir bu ne nedir kac kim nasil nerede hangi neden icin ile mi mu da de olarak kadar daha zaman nerededir nelerdir kimdir nereye "
    "olan gibi cok kimdi kimler kimleri kimi kimin kime kimden neydi neyi neye neyin neleri neler neresi neredeydi nerelerde nicin niye "
    "kacinci hangisi midir mudur misin musun yoksa eger veya ya hem icinde nedeniyle sonra once ise idi"
)
MONTHS: Final = _set(
    "january february march april june july august september october november december ocak subat mart nisan mayis haziran temmuz agustos "
    "eylul ekim kasim aralik"
)
TURKISH_QUESTIONS: Final = ("nere", "hangi", "nasil", "kacinci", "kimden", "kimler", "neyin", "neler")  # with any ending
DATE_WORDS: Final = MONTHS | _set(
    "monday tuesday wednesday thursday friday saturday sunday century centuries decade decades year years bc ad bce era pazartesi sali "
    "carsamba persembe cuma cumartesi pazar yuzyil yuzyilda yuzyilin yillarda yillarinda yilinda yili donemi donemde yil"
)
NUMBER_WORDS: Final = {  # apart, for Turkish "on" (ten) is an English preposition
    "en": _set(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
        "twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million billion trillion half third "
        "quarter dozen once twice double first second"
    ),
    "tr": _set(
        "iki uc dort bes alti yedi sekiz dokuz on yirmi otuz kirk elli altmis yetmis seksen doksan yuz bin milyon milyar trilyon yarim "
        "ceyrek ucte ikisi ucu besi ilk birinci ikinci ucuncu dorduncu besinci"
    ),
}
PERCENT_WORDS: Final = _set("percent percentage yuzde")
ABBREVIATIONS: Final = _set(
    "v dr mr mrs ms prof st jr sr vs etc eg ie no vol fig gen col lt sgt capt rev hon gov sen rep inc ltd co corp approx ca cf al ed pp "
    "dept univ est av doc yrd bkz vb hz sn sok cad mah alb org yy mo ing fr alm tel max min resp orn nr"
)
CAUSES: Final = {  # the words around a reason
    "en": _set("because due since so therefore caused reason order result lead led allow enable prevent avoid ensure fear purpose"),
    "tr": _set("cunku neden nedeniyle dolayi sebebiyle boylece sayesinde amaciyla yuzunden sebep icin diye"),
}
MANNERS: Final = {"en": _set("by through via us with method process"), "tr": _set("ile yoluyla kullanarak araciligiyla sayesinde")}
