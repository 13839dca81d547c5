"""Vocabulary: the words, units and commands that the reader knows."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Commands that stand for a letter.
GREEK = _words(
    """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega Pi ell hbar nabla partial aleph vartheta varrho
    """
)
#: Bare runs of letters that are units, not products of symbols. One-letter units count only in a text group.
UNIT_WORDS = _words(
    """
    st nd rd th
    m cm mm km nm um ft in yd mi mile inch inches foot feet yard yards kg g mg lb lbs oz ton tons s sec secs min
    mins hr hrs h ms ns day week month year rad mph kph kmh psi pa kpa hz khz mhz ghz ev mev gev kev usd eur rmb
    yuan cents cent pct percent ml l dl cc sq cu mol atm amu w kw mw v kv a ma j kj cal kcal n kn k c f unit units
    degree degrees radian radians hour hours minute minutes second seconds days weeks months years meter meters
    metre metres dollar dollars bit bits byte bytes kb mb gb am pm rev rpm deg erg dyn mbar bar pounds pound people
    ways times
    """
)
#: Short units that may stand right behind a number, as in 5cm; other short runs, as in 4kn, are products of symbols.
GLUED_UNITS = _words("cm mm km kg mg ml ft yd oz lb hr am pm cc dl kb mb gb")
#: Bare runs of letters that are words of an answer, not products of symbols.
ANSWER_WORDS = _words(
    """
    yes no true false odd even none and or not the is neither both undefined dne gcd nan inf for all any has one two
    if of to by red blue cat dog boy girl mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec
    """
)
#: Upper-case runs that are words, not the name of a segment or an angle.
UPPER_WORDS = _words("USD EUR RMB MPH DNE AM PM YES KM KG")
#: A unit never denies, offers alternatives, compares or states.
NOT_A_UNIT = _words(
    """
    not or and is isn't are to than no wrong incorrect false but except either neither maybe minus plus answer from
    factorial squared cubed root pi negative below under least most halves thirds quarters fifths sixths sevenths
    eighths ninths tenths hundreds thousands millions billions hundredths thousandths power half quarter third
    double twice thousand million billion trillion hundred dozen if when greater less
    tenth hundredth thousandth millionth third fourth fifth sixth seventh eighth ninth lakh lakhs crore crores base
    one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty
    january february march april may june july august september october november december
    perhaps maybe possibly probably versus vs alternatively over choose divided mod modulo log sin cos tan sqrt infinite
    infinity binary octal hexadecimal decimal x y z q i
    monday tuesday wednesday thursday friday saturday sunday
    """
)
#: Commands whose argument is text.
TEXT_COMMANDS = _words(
    "text textbf textit textrm textsf texttt mathrm mbox operatorname emph underline hbox textnormal"
)
#: Commands that decorate a letter; the decorated letter is another symbol.
DECORATIONS = _words(
    """
    overline bar vec hat tilde dot ddot widehat overrightarrow overleftrightarrow mathbb mathcal
    """
)
