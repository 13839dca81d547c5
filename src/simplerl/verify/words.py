r"""Words: one table of units, one of words, and what answers in words, choices and numbers in words mean.

What may stand beside a value is listed here: a unit, a noun that counts or measures, a word that introduces an answer.
A word that is not listed is never dropped: the text beside it is then not understood, or compared as words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Units, one a line: dimension, factor, symbols (exact case; * takes SI prefixes), names (any case; * takes long ones).
_UNIT_TABLE = """
L 1|m*|meter* metre*
L 0.0254|in|inch
L 0.3048|ft|foot feet
L 0.9144|yd|yard
L 1609.344|mi|mile
L 1852|nmi|
L 149597870700|AU|
L 9460730472580800|ly|lightyear light-year
L 30856775814913673|pc*|parsec*
M,L-1,T-2 133.322|torr mmHg|torr
M 1/1000|g* gm|gram* gramme*
M 0.45359237|lb lbs|pound
M 0.028349523125|oz|ounce
M 1000|t|tonne
M 907.18474,1000||ton
amu 1|amu u Da|dalton
T 1|s* sec|second*
T 60|min|minute
T 3600|h hr|hour
T 86400|d|day
T 604800|wk|week
C 1|mo|month
C 12|yr|year
C 120||decade
C 1200||century
L3 1/1000|l* L*|liter* litre*
L3 0.003785411784|gal|gallon
L3 0.000946352946|qt|quart
L3 0.000473176473|pt|pint
L3 0.0002365882365||cup
L3 0.00001478676478125|tbsp|tablespoon
L3 0.00000492892159375|tsp|teaspoon
L3 1/1000000|cc|
L3 0.0000295735295625|floz|
L2 4046.8564224||acre
L2 10000|ha|hectare
M,L2,T-2 1|J*|joule*
M,L2,T-2 3600|Wh*|
M,L2,T-2 4.184|cal*|calorie* kilocalorie:1000
M,L2,T-2 1.602176634e-19|eV*|electronvolt
M,L2,T-2 1e-7|erg|erg
M,L2,T-3 1|W*|watt*
M,L,T-2 1|N*|newton*
M,L,T-2 1/100000|dyn|dyne
M,L-1,T-2 1|Pa*|pascal*
M,L-1,T-2 100000|bar|bar
M,L-1,T-2 101325|atm|atmosphere
psi 1|psi|
T-1 1|Hz*|hertz*
rpm 1|rpm|
V 1|V*|volt*
A 1|A*|ampere* amp
ohm 1|ohm*|ohm*
farad 1|F*|farad*
coulomb 1|C|coulomb
tesla 1|T|tesla
kelvin 1|K|kelvin
celsius 1|degC|celsius
fahrenheit 1|degF|fahrenheit
mol 1|mol*|mole
molar 1|M|molar
bit 1||bit
byte 1|B|byte
kb 1|kB KB|kilobyte
mb 1|MB|megabyte
gb 1|GB|gigabyte
tb 1|TB|terabyte
dollar 1|USD|dollar buck
dollar 1/100||cent
euro 1|EUR|euro
sterling 1|GBP|
yuan 1|RMB CNY|yuan
yen 1|JPY|yen
rupee 1|Rs INR|rupee rs
rad 1|rad|radian
L,T-1 0.44704|mph|
L,T-1 5/18|kph kmh kmph|
L,T-1 463/900|kn|knot
db 1|dB|decibel
"""
_PREFIXES = {"p": "1e-12", "n": "1e-9", "u": "1e-6", "m": "1e-3", "c": "1e-2", "d": "1e-1", "k": "1e3", "M": "1e6",
             "G": "1e9", "T": "1e12"}  # fmt: skip
_LONG_PREFIXES = {"pico": "1e-12", "nano": "1e-9", "micro": "1e-6", "milli": "1e-3", "centi": "1e-2", "deci": "1e-1",
                  "deca": "1e1", "hecto": "1e2", "kilo": "1e3", "mega": "1e6", "giga": "1e9", "tera": "1e12"}  # fmt: skip
_CHINESE_UNITS = {
    "毫米": "mm", "厘米": "cm", "分米": "dm", "米": "m", "千米": "km", "公里": "km", "平方毫米": "mm^2",
    "平方厘米": "cm^2", "平方分米": "dm^2", "平方米": "m^2", "平方千米": "km^2", "平方公里": "km^2",
    "立方厘米": "cm^3", "立方分米": "dm^3", "立方米": "m^3", "毫升": "mL", "升": "L", "克": "g", "千克": "kg",
    "公斤": "kg", "吨": "tonne", "秒": "s", "分钟": "min", "分": "min", "小时": "hour", "时": "hour", "天": "day",
    "日": "day", "周": "week", "个月": "month", "月": "month", "年": "year", "元": "yuan", "美元": "dollar",
    "角": "unit", "度": "degrees", "千米/时": "km/h", "米/秒": "m/s", "个": "unit", "人": "people", "名": "people",
    "只": "animal", "本": "book", "支": "pen", "条": "unit", "张": "sheet", "件": "item", "辆": "vehicle",
    "棵": "tree", "朵": "flower", "种": "way", "次": "times", "岁": "years", "位": "people", "块": "piece", "瓶":
    "bottle", "袋": "bag", "箱": "box", "盒": "box", "头": "animal", "间": "room", "页": "page", "项": "term",
    "户": "family", "倍": "times", "单位": "unit", "平方单位": "square units", "立方单位": "cubic units",
}  # fmt: skip

#: What is counted, in the singular (of a noun that is often met in problems); only these may stand behind a number.
NOUNS = _words(
    """
    acorn clip trip o'clock actor adult age airplane album alligator angle animal ant apartment app appetizer apple apron aquarium area
    arm arrangement artichoke article artwork asparagus athlete atom attendee aunt avocado award baby backpack badge
    bag bagel baguette bale ball balloon banana band bandage bar barrel baseball basket basketball batch bath bathroom
    battery bead beaker bean bear bed bedbug bedroom bee beetle belt bench berry bicycle bike bill billboard bird
    biscuit blackbird blanket blister block blous blueberry board boat bolt bone bonnet bonus book bottle bottlecap
    bouquet bowl box boxes boy bracelet braid branch bread breakfast brick brochure brother brownie bubble buck bucket
    bucks bug builder building bulb bunch bundle bunny burger burrito bus bush bushel business butterfly button buyer
    byte cabinet cage cake call calory camel camper can candidate candle candy cane cantaloupe cap capsule car caramel
    card cardinal carnation carpet carriage carrot carton case cash cat caterpillar ceiling cell chair channel chapter
    character cheerleader cheesecake chef cherry chest chick chicken child children chip chocolate choice chore circle
    citation citizen city clarinet class classmate classroom claw clerk client clothe clothesline cloud clove clover
    clown cluster coach coal coat coconut code coefficient coffee coin color column combination comic computer cone
    consonant contact container cookie cooler copy corn cost counter country couple coupon course cow crab cracker
    craft cranberry crate crater crayon credit cricket croissant crop crouton crow cube cucumber cupcake curler
    customer cycle daisy daughter debt deck decoration deer delivery desk dessert device diagonal diaper diary dice
    die digit dime dinner discount dish divisor doctor dog doll dolphin donation donut door dot doughnut dragon
    drawing dream dress drum drummer duck duckling dumpling ear earring edge egg eggplant electron element elephant
    email employee enemy envelope episode eraser exam eye fabric face factor fairy family farmhand farthing feather
    fee feed female fence fern figurine file filet finger fire firecracker firework fish flag flashlight flavor flea
    flight floor flour flower flowerbed flute flyer folder folding follower football footprint fork form foxes friend
    frisbee frog frond fruit fry gain gallery game gecko geese gem gemstone geranium gift gingerbread giraffe girl
    glass gnome goal goat goose grade grape grass group guest guide guitar gumball gun guppy gust hair haircut hall
    hamburger hamster hand hanger hare hat head heart height helmet hen highlighter hike hive hole home horse hospital
    hotdog house household hundredweight income individual inhabitant insect instance instruction instrument integer
    interest intersection interval invitation island item jacket jar jay jean jellybean jersey jewel jogger joke jug
    juice kangaroo kernel key kid kind kindergartner kitten knife knight knives ladder ladybug lamb lamp lap laptop
    latte lattice lawn layer leaf leaves leg lego lemon length leopard lesson letter level lightbulb lighter lily limb
    lime line link lion lizard llama load loaf loaves log lollipop lunch macaron macaroon machine magazine maggot
    magnet male man manager mango marble marigold mark marker marshmallow mask match matchbox matchstick meal medal
    melon member men message mice microphone milk milkshake millipede mink minnow mirror model mole molecule money
    monitor monkey monster morph motorcycle mountain mouse move movie movy muffin mug mushroom nail napkin necklace
    neighbor nephew newspaper nickel night note notebook nougat novel nucleus number nurse nut object omelet onion
    option orange orc orchard orchid outcome outfit owner oyster pack package packet page pail paint painting pair
    pallet pamphlet pan pancake panda panel pant papaya paper paperclip paragraph parent parrot parsnip part
    participant particle pass passenger password pastry patch path patient patron paw peach peak peanut pear pearl
    pebble pen pencil penguin penny people pepper permutation person pet petal petunia phone photo photograph photon
    pianist pickle picture pie piece pig pigeon piglet pile pill pin pine pineapple pinecone pitch pixel pizza plank
    plant plate play player playlist plum pocket pod point pointer pomegranate poodle popsicle portion position
    possibility post postcard poster pot potato pouch present pretzel price prime problem product profit pump pumpkin
    pup pupil puppy pushup puzzle question quilt quiz quokka rabbit racer racquet raisin raspberry rat record
    rectangle reflection rep report representation resident restaurant revolution rhinestone rhino rice riddle ride
    ridge ring robin robot rock roll room roommate rooster rotation round route row rule rung runner sack salad
    sandcastle sandwich sapling sapphire sausage scallop school scoop score screw seagull seashell season seat section
    seed seedling segment semester senior sentence sequence sequin serving session set share shark sheep sheet shelf
    shell shelves shirt shoebox short shot sibling side signature singer sister site situp skater skein skeleton skirt
    skittle sleeve slice snack snail snake snapdragon snowball snowflake soap sock soda sofa soldier solution son song
    sonnet space sparkler spear spider spoke spool spoon sport spot square squat squirrel stack stair stamp stanza
    star state station statue steak stem step stick sticker stingray stitch stock stone stoplight store stork story
    strand straw strawberry street streetlight string stripe stroke student subject subscriber subscription subset
    sucker sugar suit sunflower surfer survey swallow swan sweater sweet symbol system tab table tack tadpole
    tangerine tank tap tarantula task tattoo tax teacher teacup team tear teddy teenager teeth television tennis tent
    term terrier tetra text thing thorn ticket tie tiger tile tin tip tire tissue toad toddler toenail token tomato
    tool tooth toothbrush toothpick topping toss touchdown tourist towel tower toy tractor train tray treat tree trial
    triangle triple troll trophy trout truck truckload trumpet tub tube tulip turkey turn turtle twig type unicorn
    unit vacation vaccine value vampire van vector vegetable vehicle vertex vertices vet vibration video visit visitor
    volume volunteer vote voter waiter wall walnut wand wash washer water watermelon way weasel website weed weekday
    weight whale wheel whisker whistler widget wig window wing wolf wolves woman women wood word worker worm wrapper
    yard yogurt zebra zero zombie    """
)
#: Words that may stand with a unit or a noun behind a number, and change nothing.
_BESIDE_UNITS = _words(
    """
    the a an of in per for from with on at to by all these those this that them us his her their its our him she he
    they it you we i old altogether overall each apiece left remaining together outcomes
    """
)
#: Words that may stand with a counted noun only: in "7 negative" or "7 more" they change the value.
_BESIDE_NOUNS = _BESIDE_UNITS | _words(
    """
    possible different distinct total whole real positive integer integral negative natural rational years red blue
    green yellow black white brown orange purple pink new small large big long tall wide deep high square cubic sq cu
    full empty regular valid such unique ordered there are is more fewer extra additional first last same other adult
    """
)
#: Words whose case does not matter behind a number, beside nouns and units.
_ALONE = _words("times apiece each altogether people total overall left remaining together ways per day")
#: Bare runs of letters that are units, not products of symbols. One-letter units count only in a text group.
UNIT_WORDS = _words(
    """
    st nd rd th
    m cm mm km nm um dm ft in yd mi mile inch inches foot feet yard yards kg g mg lb lbs oz ton tons s sec secs min
    mins hr hrs h ms ns day week month year rad mph kph kmh psi pa kpa hz khz mhz ghz ev mev gev kev usd eur rmb
    yuan cents cent pct percent ml l dl cc sq cu mol atm amu w kw mw v kv a ma j kj cal kcal n kn k c f unit units
    degree degrees radian radians hour hours minute minutes second seconds days weeks months years meter meters
    metre metres dollar dollars bit bits byte bytes kb mb gb am pm rev rpm deg erg dyn mbar bar pounds pound people
    ways times kwh qt gal wh
    """
)
#: Short units that may stand right behind a number, as in 5cm; other short runs, as in 4kn, are products of symbols.
GLUED_UNITS = _words("cm mm km kg mg ml ft yd oz lb hr am pm cc dl kb mb gb dm kw kwh mph rpm mw")
#: Bare runs of letters that are words of an answer, not products of symbols.
ANSWER_WORDS = _words(
    """
    yes no true false odd even none and or not the is neither both undefined dne gcd nan inf for all any has one two
    if of to by red blue cat dog boy girl mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec
    six ten half
    """
)
#: Upper-case runs that are words, not the name of a segment or an angle.
UPPER_WORDS = _words("USD EUR RMB MPH DNE AM PM YES KM KG")
#: Names of quantities: before an equals sign, a colon or "is" they say what is asked for.
_QUANTITIES = _words(
    """
    answer answers result results solution solutions value values area volume perimeter length width height depth
    radius diameter circumference probability mean median mode range average total sum product difference quotient
    ratio remainder minimum maximum min max slope distance speed velocity time cost price profit loss angle age number
    amount weight mass rate percentage percent count size surface domain equation vertex center centre limit integral
    derivative determinant rank intercept root roots multiple
    divisor factor variance deviation point base side hypotenuse
    arc chord sector temperature force energy power work charge current resistance voltage frequency wavelength
    interest balance income revenue score grade salary wage tax discount tip sale change
    option choice letter term digit digits
    """
)
_VERBS = _words(
    """
    is are was were be equals has have had needs need takes took costs cost gets got makes made pays paid spends spent
    earns earned sells sold weighs contains bought buys eats ate used uses
    """
)
_LEADING_WORDS = _words(
    """
    least greatest largest smallest common expected standard final correct desired required exact approximate inverse
    function expression maximum-value minimum-value
    the a an of in for is are was were be equals equal to so thus hence therefore there exist exists have has we get
    that this these our its it her his their he she they you i must each will which such where value and both from at on with
    total probability triangle rectangle circle square cube sphere cone cylinder polygon line segment point set
    """
)
#: Commands that stand for a letter.
GREEK = _words(
    """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega Pi ell hbar nabla partial aleph vartheta varrho
    """
)
#: Commands whose argument is text.
TEXT_COMMANDS = _words(
    "text textbf textit textrm textsf texttt mathrm mbox operatorname emph underline hbox textnormal textup textsc"
)
#: Commands that decorate a letter; the decorated letter is another symbol.
DECORATIONS = _words(
    """
    overline bar vec hat tilde dot ddot widehat overrightarrow overleftrightarrow mathbb mathcal overset widetilde
    overparen overarc
    """
)
#: In the text of an option, words that deny or hedge the choice.
_DENIALS = _words(
    """
    halved doubled squared cubed inverse factorial half twice thousand hundred hundreds mod rounded reciprocal off
    not or wrong incorrect false no never neither nor nope nah rejected reject rejects excluded exclude eliminated eliminate
    ruled unless except perhaps maybe possibly probably impossible invalid untrue mistaken mistake error discarded
    discard cannot can't isn't doesn't don't won't unlikely likely however but instead rather unknown unsure guess
    guessing else other another alternatively otherwise dismissed refuted disproved contradicted contradiction fails
    failed ignore ignored crossed struck inadmissible denied deny erroneous inaccurate lie doubt doubtful supposedly
    allegedly approximately about almost nearly if either opposite negation complement minus plus times
    less more than least most retracted withdrawn void refused would too cannot could might may should
    """
)

_ARTICLES = re.compile(r"^(?:an?|the)\s+")
_THERE_IS = re.compile(r"^(?:the )?(?:limit|integral|series|sum|value|derivative|expression|answer|sequence) (?:is )?"
                       r"(?=does not exist|undefined|diverge|converge|not defined|infinit)|^(?:there (?:is|are|exists?)|it has|the equation has) (?=no |infinitely )")
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(name[:3] + f"(?:{name[3:]})?" if name != "may" else name for name in _MONTHS)
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})",
        r"(?P<m>\d{1,2})[-/](?P<d>\d{1,2})[-/](?P<y>\d{4})",
        rf"(?P<n>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<y>\d{{4}}))?",
        rf"(?:the )?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<n>{_MONTH})\.?(?:,? (?P<y>\d{{4}}))?",
        r"(?P<y>\d{4}) ?年 ?(?P<m>\d{1,2}) ?月 ?(?P<d>\d{1,2}) ?日",
    )
)
#: Ways of saying the same thing, each mapped to one of them.
_SYNONYMS = {
    "dne": "does not exist", "doesn't exist": "does not exist", "no solutions": "no solution",
    "there is no solution": "no solution", "there are no solutions": "no solution",
    "no real solutions": "no solution", "no real solution": "no solution", "no solution exists": "no solution",
    "no solutions exist": "no solution", "no real roots": "no solution",
    "infinite": "infinitely many", "infinity": "infinitely many", "infinitely many solutions": "infinitely many",
    "infinite solutions": "infinitely many", "infinitely many values": "infinitely many",
    "first quadrant": "quadrant i", "second quadrant": "quadrant ii", "third quadrant": "quadrant iii",
    "fourth quadrant": "quadrant iv",
    "all reals": "all real numbers", "all real": "all real numbers", "real numbers": "all real numbers",
    "正确": "true", "错误": "false", "对": "true", "错": "false", "是": "yes", "否": "no", "无解": "no solution",
    "不存在": "does not exist", "偶数": "even", "奇数": "odd",
}  # fmt: skip

# --- numbers in words ---------------------------------------------------------------------------------------------

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: i for i, word in enumerate(_SMALL)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}
_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
#: Words that multiply the number in front of them: 1.5 million, 3 dozen, 3 halves.
SCALES: dict[str, Fraction] = {
    "hundred": Fraction(100), "thousand": Fraction(10**3), "million": Fraction(10**6), "billion": Fraction(10**9),
    "trillion": Fraction(10**12), "dozen": Fraction(12), "lakh": Fraction(10**5), "crore": Fraction(10**7),
    "half": Fraction(1, 2), "halves": Fraction(1, 2), "quarter": Fraction(1, 4), "hundredth": Fraction(1, 100),
    "thousandth": Fraction(1, 1000), "millionth": Fraction(1, 10**6), "score": Fraction(20),
    **{word: Fraction(1, i) for i, word in enumerate(_ORDINALS) if i > 2},
}  # fmt: skip
_GROUPS = {name: int(SCALES[name]) for name in ("thousand", "million", "billion", "trillion")}


def scale_of(word: str) -> Fraction | None:
    """The factor that a word behind a number stands for: dozen, million, halves; None for any other word."""
    word = word.lower()
    return SCALES.get(word) or SCALES.get(word.removesuffix("s"))


def _fits(group: int, before: str, value: int) -> bool:
    """Whether a number may follow what was said: twenty one, hundred five; not five six, nor one zero."""
    if not before or before in _GROUPS or before in ("hundred", "and"):
        return value > 0 or (not before and not group)
    return before in _TENS and 0 < value < 10


def _cardinal(words: list[str]) -> int | None:
    """The whole number that words say, all of them, else None."""
    if not words or len(words) > 16 or words[0] == "and":
        return None
    total = group = 0
    last = 10**15
    for before, word in zip(["", *words], words, strict=False):
        if word == "and":
            if before not in ("hundred", *_GROUPS) or word == words[-1]:
                return None
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word in _GROUPS and group and _GROUPS[word] < last:
            last = _GROUPS[word]
            total, group = total + group * last, 0
        elif word in _VALUES and _fits(group, before, _VALUES[word]):
            group += _VALUES[word]
        else:
            return None
    return total + group


def number_in_words(text: str) -> Fraction | None:
    """The number that English words say, all of them: seven, minus two, three fifths, two and a half, a dozen."""
    lower = text.lower().strip()
    if not re.fullmatch(r"[a-z][a-z\s-]{1,119}", lower):
        return None
    words = lower.replace("-", " ").split()
    if words[0] in ("negative", "minus") and len(words) > 1:
        value = number_in_words(" ".join(words[1:]))
        return None if value is None else -value
    cardinal = _cardinal(words)
    if cardinal is not None:
        return Fraction(cardinal)
    if len(words) == 1 and words[0] in _ORDINALS[1:]:
        return Fraction(_ORDINALS.index(words[0]))
    if words[-3:] == ["and", "a", "half"]:
        head = _cardinal(words[:-3])
        return None if head is None else head + Fraction(1, 2)
    scale = scale_of(words[-1])
    if scale is not None and (scale < 1 or words[-1].startswith("dozen")) and len(words) > 1:
        head = 1 if words[:-1] in (["a"], ["one"]) else _cardinal(words[:-1])
        return None if head is None else head * scale
    return None


# --- units and counted nouns --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """What words behind a value measure or count: dimension → exponent, with the factors to its base unit.

    Counted nouns are dimensions whose name begins with `#`. A name with two meanings (ton) has two factors.
    """

    dimensions: tuple[tuple[str, int], ...]
    factors: tuple[Fraction, ...] = (Fraction(1),)

    @property
    def counts(self) -> bool:
        """Whether a counted noun is part of it."""
        return any(name[0] == "#" for name, _ in self.dimensions)


def stem(word: str) -> str:
    """The singular of a noun, as the table of nouns has it."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(?:s|x|ch|sh|z|o)es$", word):
        return word[:-2]
    if word.endswith("ves"):
        return word[:-1]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _factor(text: str) -> Fraction:
    return Fraction(text)


@lru_cache(maxsize=1)
def _unit_tables() -> tuple[dict[str, Unit], dict[str, Unit]]:
    """Symbol → unit with case, and name in lower case → unit; made at first use."""
    symbols: dict[str, Unit] = {}
    names: dict[str, Unit] = {}
    for line in _UNIT_TABLE.strip().splitlines():
        head, symbol_text, name_text = line.split("|")
        dimension_text, factor_text = head.split()
        dimensions = tuple(
            (match.group(1), int(match.group(2) or 1))
            for part in dimension_text.split(",")
            if (match := re.fullmatch(r"([a-zA-Z-]*[a-zA-Z])(-?\d)?", part))
        )
        factors = tuple(map(_factor, factor_text.split(",")))
        for text, table, prefixes in ((symbol_text, symbols, _PREFIXES), (name_text, names, _LONG_PREFIXES)):
            for entry in text.split():
                name = entry.rstrip("*").partition(":")[0]
                own = Fraction(entry.partition(":")[2] or 1)
                table.setdefault(name, Unit(dimensions, tuple(factor * own for factor in factors)))
                if entry.endswith("*"):
                    for prefix, power in prefixes.items():
                        scaled = tuple(factor * _factor(power) for factor in factors)
                        table.setdefault(prefix + name, Unit(dimensions, scaled))
    for loose in (*symbols, "kwh"):
        names.setdefault(loose.lower(), symbols.get(loose) or symbols["kWh"])
    names["mw"] = Unit((("mw", 1),))  # milli or mega: in lower case nobody can tell
    return symbols, names


def _unit_word(word: str) -> Unit | None:
    symbols, names = _unit_tables()
    known = symbols.get(word)
    if known is None and (word.islower() or word.isupper() or (word.istitle() and len(word) > 3)):  # in mB or Mw the case is meant
        known = names.get(word.lower()) or names.get(stem(word.lower()))
    if known is None and word.lower().endswith("s"):
        known = names.get(word.lower()[:-1])
    if known is None and word.lower() in ("foots", "inche", "inches"):
        known = names["inch"]
    return known


_UNIT_PIECE = re.compile(r"\^\s*-?\d|(?<=[A-Za-z])-?\d|[/·]|\bper\b|[A-Za-z][A-Za-z'-]*|\S", re.ASCII)
_POWER_BEFORE, _POWER_BEHIND = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}, {"squared": 2, "cubed": 3}


@lru_cache(maxsize=4_096)
def unit_of(phrase: str) -> Unit | None:
    """What the words behind a value measure or count, all of them; None when any of them is not understood."""
    text = _CHINESE_UNITS.get(phrase.strip(), phrase)
    text = re.sub(r"\\(?:text|mathrm|mbox|textrm|rm)(?![a-z])", " ", text.replace("\\cdot", "·").replace("\\mu", "u"))
    text = re.sub(r"[{}]|(?<=[a-z])\.", "", text).replace("µ", "u").replace("μ", "u")
    text = re.sub(r"/\s*\(([^()]*)\)", lambda m: " / " + " / ".join(m.group(1).replace("·", " ").split()), text)
    text = re.sub(r"light years?", "lightyear", re.sub(r"(?:fl\.?|fluid) (?:oz|ounces?)\b", "floz", text))
    text = re.sub(r"(?<=[A-Za-z])\s*-\s*(?=[A-Za-z]{1,2}\b)", "·", text)
    text = re.sub(r"^\s*\((.*)\)\s*$", r"\1", text.strip())
    if len(text) > 80 or not text:
        return None
    exponents: dict[str, int] = {}
    factors: tuple[Fraction, ...] = (Fraction(1),)
    sign, before, last = 1, 1, None
    words = text.split()
    if len(words) > 1 and words[0].lower() in ("of", "in", "for") and not all(map(_known_word, words[1:])):
        return None
    meaning = adjectives = False

    def multiply(unit: Unit, power: int) -> None:
        nonlocal factors
        for name, exponent in unit.dimensions:
            exponents[name] = exponents.get(name, 0) + exponent * power
        factors = tuple(a * b**power for a in factors for b in unit.factors)

    after_of = False
    for match in _UNIT_PIECE.finditer(text):
        piece, lower = match.group(), match.group().lower()
        if piece[-1].isdigit():
            raised = piece[0] == "^" or text[match.start() - 1].isalpha()
            if last is None or not raised or abs(int(piece.strip("^ "))) > 9:
                return None
            unit, power = last
            multiply(unit, (int(piece.strip("^ ")) - 1) * power)
            last = None
        elif lower in _POWER_BEHIND and last is not None:
            multiply(last[0], (_POWER_BEHIND[lower] - 1) * last[1])
        elif lower in ("/", "per"):
            sign, after_of = -1, False
        elif lower == "·":
            continue
        elif lower in _POWER_BEFORE:
            before = _POWER_BEFORE[lower]
        elif (unit := _unit_word(piece)) is not None and not after_of and (len(piece) > 1 or len(text) < 14):
            multiply(unit, sign * before)
            last, sign, before, meaning = (unit, sign * before), 1, 1, True
        elif stem(lower) in NOUNS or lower in NOUNS or lower in ("times", "people", "unit", "units"):
            if not after_of:
                unit = Unit((("#" + (stem(lower) if stem(lower) in NOUNS else lower), 1),))
                multiply(unit, sign * before)
                last = (unit, sign * before)
            sign, before, meaning = 1, 1, True
        elif lower in _BESIDE_NOUNS:
            adjectives = adjectives or lower not in _BESIDE_UNITS
            after_of = after_of or (lower in ("of", "in", "for", "from", "on", "at", "to") and meaning)
            meaning = meaning or lower in _ALONE or lower in ("them", "old")
        else:
            return None
    if not meaning or sign < 0 or text.lower().startswith("per cent"):
        return None
    if adjectives and not any(name[0] == "#" for name in exponents):
        return None
    return Unit(tuple(sorted((name, power) for name, power in exponents.items() if power)), factors)


def _known_word(word: str) -> bool:
    lower = word.lower()
    return lower in _BESIDE_NOUNS or stem(lower) in NOUNS or lower in NOUNS or _unit_word(word) is not None


def same_dimension(first: Unit, second: Unit) -> bool:
    """Whether two units measure the same, so that one may be converted into the other."""
    return first.dimensions == second.dimensions


_PREPOSITIONS = _words("of in for from with to on at")


def is_name(text: str) -> bool:
    """Whether words only name the quantity that is asked for: `Area`, `The probability`, `total cost of`."""
    words = re.findall(r"[^\s,:]+", text.lower())
    if not words or len(words) > 12 or words[-1] in _PREPOSITIONS or words[0] in ("one", "another", "some", "a", "of", "at", "in",
                                                          "for", "from", "with", "on", "and", "both"):  # fmt: skip
        return False
    known = all(word in _QUANTITIES or word in _LEADING_WORDS or (len(word) == 1 and word != words[0]) or stem(word) in NOUNS
                or number_in_words(word) is not None or word.isdigit() for word in words)  # fmt: skip
    return known and any(word in _QUANTITIES or stem(word) in NOUNS for word in words)


def is_lead_in(text: str) -> bool:
    """Whether words in front of an answer only introduce it: `the answer is`, `there are`, `so`, `exactly`."""
    lower = text.lower().strip(" ,:")
    if not lower:
        return True
    words = re.findall(r"[^\s,:]+", lower)
    if len(words) > 12:
        return False
    if all(word in ("approximately", "about", "around", "roughly", "exactly", "so", "thus", "hence", "therefore", "then",
                    "simply", "just") for word in words):  # fmt: skip
        return True
    if words[-1] in _VERBS or text.rstrip().endswith(":"):
        rest = words[:-1] if words[-1] in _VERBS else words
        return not rest or is_name(" ".join(rest)) or all(word in _LEADING_WORDS for word in rest)
    return lower in ("usd", "rs", "rs.", "rmb", "eur", "gbp", "year", "the year", "point", "the point", "points",
                     "the points", "answer", "final answer", "the answer", "value", "option", "choice", "number",
                     "equal to", "equals")  # fmt: skip


# --- answers in words ---------------------------------------------------------------------------------------------


def date_of(text: str) -> str | None:
    """A date in one spelling, year-month-day with what is not stated left empty; None for anything else."""
    text = " ".join(re.sub(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text).split()).strip(" .")
    text = re.sub(r"\s+,", ",", text)
    for pattern in _DATES if len(text) < 40 else ():
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            month = int(parts["m"]) if parts.get("m") else _month(parts["n"])
            day = int(parts["d"])
            if 1 <= month <= 12 and 1 <= day <= 31:
                return f"{parts.get('y') or ''}-{month}-{day}"
    return None


def _month(name: str) -> int:
    return next(i for i, month in enumerate(_MONTHS, 1) if month.startswith(name[:3].lower()))


def plain_words(text: str) -> str:
    """Return words for comparison: lower case, single spaces, no surrounding punctuation or article."""
    words = " ".join(re.sub(r"[\"“”*_]", " ", text).lower().split()).strip(" .,;:!?'")
    words = re.sub(r"\s*([,.;:()'-])\s*", r"\1", words)
    return _settled(_ARTICLES.sub("", words))


def _settled(words: str) -> str:
    """One of several ways of saying the same thing; words in lower case."""
    words = _THERE_IS.sub("", words)
    words = re.sub(r"(?<=[a-z]) and (?=\d)", " ", words).removesuffix(" only")  # 3 hours and 20 minutes
    return _SYNONYMS.get(words, words)


def unnumbered(words: str) -> str:
    """`quadrant ii` is `ii`; other words stay what they are."""
    return re.sub(r"quadrant (?=(?:i{1,3}|iv)$)", "", words)


def opened(text: str) -> str:
    r"""The text with its `\text{…}` groups opened."""
    return re.sub(r"\\(?:text|textbf|textit|mathrm|mbox|textrm|mathbf)\s*\{([^{}]*)\}", r" \1 ", text)


def words_of_markup(text: str) -> str | None:
    r"""Return the plain words of a normalised answer, with `\text{…}` opened; None when it holds mathematics."""
    content = opened(text)
    if not re.fullmatch(r"[\w\s.,;:'\"()?!-]*", content) or not re.search(r"[^\W\d_]", content):
        return None
    return plain_words(content) or None


#: Primes, factorials and arguments: `f'`, `(n)!`, `f(x)`.
_NOTATION = re.compile(r"(?<![A-Za-z])[A-Za-z]'|\)\s*!|[A-Za-z]\s*\(\s*[A-Za-z]\s*[,)]")


def comparable_words(text: str) -> str | None:
    """Return a spelling that two answers in words share; None unless the text is really words, not mathematics.

    Names of up to three letters keep their case (AB is not ab), and beside digits nothing in front is dropped (.5, -5).
    """
    content = opened(text)
    if words_of_markup(text) is None or _NOTATION.search(content):
        return None
    pieces = re.findall(r"\d+(?:\.\d+)?|\.\d+|[^\W\d_]+|\S", re.sub(r"[\"“”*_]", " ", content))
    known = [len(piece) > 3 or piece.lower() in ANSWER_WORDS or piece > "\u2e00" for piece in pieces]
    if not any(known_word and piece[0].isalpha() for known_word, piece in zip(known, pieces, strict=True)):
        return None
    words = " ".join(piece.lower() if lower else piece for piece, lower in zip(pieces, known, strict=True))
    if any(piece[-1].isdigit() for piece in pieces):
        return words.rstrip(" .,;:?")
    words = re.sub(r"\s*([,.;:()'-])\s*", r"\1", words.strip(" .,;:!?'"))
    words = re.sub(r"^(?:an?|the) ", "", words, flags=re.IGNORECASE)
    pair = _settled(words).split(" and ")
    # "Bob and Alice" are "Alice and Bob": two names without anything else, in order of the alphabet.
    return " and ".join(sorted(pair)) if len(pair) == 2 and all(len(item.split()) == 1 for item in pair) else pair_text(
        pair)  # fmt: skip


def pair_text(parts: list[str]) -> str:
    """The parts of a text that was split at `and`, joined again."""
    return " and ".join(parts)


# --- choices ------------------------------------------------------------------------------------------------------

_CHOICE = re.compile(r"[(\[]?\s*(?:\\(?:text|textbf|mathrm)\s*\{)?\s*\(?\s*([A-J])\s*\)?\s*\}?\s*[)\]]?")
_OPTION = re.compile(
    r"\(?\s*(?:\\(?:text|textbf|mathrm)\s*\{)?\s*\(?\s*([A-J])\s*(?:\)\s*\}?|[.:]\s*\}?|\}\s*[).:]|\}\s*(?=\()| (?=\())(.*)", re.DOTALL
)
_NAMED_CHOICE = re.compile(r"(?:\\text\s*\{)?\s*(?i:(?:the )?(?:correct )?(?:option|choice|answer))(?: is)?\s*:?\s*(?:\})?\s*"
                           r"\(?([A-J])\)?\s*\}?|(?:选项|答案|选|选择)?\s*:?\s*([A-J])\s*项?")  # fmt: skip
_CIRCLED = "ⒶⒷⒸⒹⒺⒻⒼⒽⒾⒿ"


def choice_letter(text: str) -> str | None:
    """Return the letter when a text is a choice letter, bare, circled or in parentheses."""
    if text in _CIRCLED and len(text) == 1:
        return chr(ord("A") + _CIRCLED.index(text))
    match = _CHOICE.fullmatch(text)
    return match.group(1) if match else None


def chosen_letter(answer: str) -> str | None:
    """Return the letter that an answer chooses, alone or in front of the option's text (`A. 5`, `(B) blue`)."""
    if (letter := choice_letter(answer)) is not None:
        return letter
    if named := _NAMED_CHOICE.fullmatch(answer):
        return named.group(1) or named.group(2)
    match = _OPTION.fullmatch(answer)
    if not match:
        return None
    # Another letter, a sign of more, or a denial makes it a hedge rather than a choice.
    letter, rest = match.groups()
    hedged = set(re.findall(r"(?<![A-Za-z\\])[A-J](?![A-Za-z'])", rest)) - {letter}
    denied = _DENIALS & set(re.findall(r"[a-z']+", rest.lower())) or re.match(r"\s*[-+*/^=<>!?~\[|]|\s*i\.?e", rest.replace("\\text{", "").lstrip(" ("))
    bracketed = re.match(r"\s*\(", rest) and re.search(r"[A-Za-z]{2}", rest)
    return None if hedged or denied or bracketed else letter


def denies(text: str) -> bool:
    """Whether words deny, hedge or change what they stand beside."""
    return bool(_DENIALS & set(re.findall(r"[a-z']+", text.lower())))


def may_be_left_out(text: str) -> bool:
    """Whether words that stand behind a value in a gold, and that are no unit we know, may be missing in an answer:
    nouns in the plural."""
    words = text.lower().split()
    return bool(words) and not denies(text) and words[-1].endswith("s") and len(words[-1]) > 3 and all(
        _known_word(word) or (word.isalpha() and word.endswith("s") and number_in_words(word) is None) for word in words
    )  # fmt: skip


def counts_in(phrase: str, question: str) -> bool:
    """Whether words behind a value count something that the question speaks of: nouns in the plural, from its text."""
    words = phrase.lower().split()
    asked = set(re.findall(r"[a-z']+", question.lower()))
    return bool(words) and len(words) < 5 and not denies(phrase) and words[-1].endswith("s") and all(
        word in asked or word in _BESIDE_NOUNS for word in words
    )  # fmt: skip


def circled_choices(text: str) -> tuple[str, ...]:
    """The circled numbers that an answer lists, in order, when it holds nothing else."""
    content = re.sub(r"[\s,]|\\text\b|[{}]|\band\b", "", text)
    return tuple(sorted(content)) if content and all("①" <= char <= "⓿" for char in content) else ()
