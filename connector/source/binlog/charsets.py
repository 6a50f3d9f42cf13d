"""Character sets by collation id, and how their bytes become text exactly as the server itself converts them.

Only character sets whose every byte has been compared with a server's own conversion are here; a wanted column in
another one is refused when its table is first seen. Bytes that the character set does not define raise
UnicodeDecodeError: text is never guessed.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from connector.source.binlog import multibyte

BINARY = 63

# Character set -> collation ids of MySQL 9 and MariaDB 12, as first-last ranges. MariaDB adds 1024 for its NOPAD
# collations, and numbers its uca1400 collations from 2048 in blocks of 256.
_COLLATIONS = {
    "armscii8": "32 64 1056 1088",
    "ascii": "11 65 1035 1089",
    "big5": "1 84 1025 1108",
    "binary": "63",
    "cp1250": "26 34 44 66 99 1050 1090",
    "cp1251": "14 23 50-52 1074-1075",
    "cp1256": "57 67 1081 1091",
    "cp1257": "29 58-59 1082-1083",
    "cp850": "4 80 1028 1104",
    "cp852": "40 81 1064 1105",
    "cp866": "36 68 1060 1092",
    "cp932": "95-96 1119-1120",
    "dec8": "3 69 1027 1093",
    "eucjpms": "97-98 1121-1122",
    "euckr": "19 85 1043 1109",
    "gb18030": "248-250",
    "gb2312": "24 86 1048 1110",
    "gbk": "28 87 1052 1111",
    "geostd8": "92-93 1116-1117",
    "greek": "25 70 1049 1094",
    "hebrew": "16 71 1040 1095",
    "hp8": "6 72 1030 1096",
    "keybcs2": "37 73 1061 1097",
    "koi8r": "7 74 1031 1098",
    "koi8u": "22 75 1046 1099",
    "latin1": "5 8 15 31 47-49 94 1032 1071",
    "latin2": "2 9 21 27 77 1033 1101",
    "latin5": "30 78 1054 1102",
    "latin7": "20 41-42 79 1065 1103",
    "macce": "38 43 1062 1067",
    "macroman": "39 53 1063 1077",
    "sjis": "13 88 1037 1112",
    "swe7": "10 82 1034 1106",
    "tis620": "18 89 1042 1113",
    "ucs2": "35 90 128-151 159 640-642 1059 1114 1152 1174 2560-2815",
    "ujis": "12 91 1036 1115",
    "utf16": "54-55 101-124 672-674 1078-1079 1125 1147 2816-3071",
    "utf16le": "56 62 1080 1086",
    "utf32": "60-61 160-183 736-738 1084-1085 1184 1206 3072-3327",
    "utf8mb3": "33 76 83 192-215 223 576-578 1057 1107 1216 1238 2048-2303",
    "utf8mb4": "45-46 224-247 255-323 608-610 1069-1070 1248 1270 2304-2559",
}


def _ids(ranges: str) -> list[int]:
    ids: list[int] = []
    for piece in ranges.split():
        first, _, last = piece.partition("-")
        ids.extend(range(int(first), int(last or first) + 1))
    return ids


_NAME_BY_ID = {number: name for name, ranges in _COLLATIONS.items() for number in _ids(ranges)}


def charset_name(collation: int) -> str | None:
    """Character set of a collation id; None if the id is of no known server."""
    return _NAME_BY_ID.get(collation)


def collation_of(charset: str) -> int | None:
    """Any collation of that character set; None if it is of no known server."""
    ranges = _COLLATIONS.get("utf8mb3" if charset == "utf8" else charset)
    return None if ranges is None else _ids(ranges)[0]


def _single_byte(codec: str, differences: dict[int, str | None]) -> Callable[[bytes], str]:
    """Decoder for an 8-bit character set: a Python codec but for some bytes (None: undefined on the server)."""
    table: list[str] = []
    for octet in range(256):
        char = differences[octet] if octet in differences else bytes([octet]).decode(codec, "ignore") or None
        table.append("\ufffe" if char is None else char)  # how charmap_decode is told "undefined"
    mapping = "".join(table)

    def decode(data: bytes) -> str:
        return codecs.charmap_decode(data, "strict", mapping)[0]

    return decode


def _codec(name: str) -> Callable[[bytes], str]:
    decode = codecs.lookup(name).decode

    def decode_strictly(data: bytes) -> str:
        return decode(data, "strict")[0]

    return decode_strictly


def _ucs2(data: bytes) -> str:
    """Two bytes for every character: what looks like a surrogate pair is two characters that do not exist."""
    text = codecs.utf_16_be_decode(data, "strict", True)[0]
    if 2 * len(text) != len(data):
        raise UnicodeDecodeError("ucs2", data, 0, len(data), "surrogates are no characters")
    return text


def _run(first: int, text: str) -> dict[int, str | None]:
    return dict(enumerate(text, first))


_ARMENIAN = "❁§։)(»«—.՝,-՟…՜՛՞ԱաԲբԳգԴդԵեԶզԷէԸըԹթԺժԻիԼլԽխԾծԿկՀհՁձՂղՃճՄմՅյՆնՇշՈոՉչՊպՋջՌռՍսՎվՏտՐրՑցՒւՓփՔքՕօՖֆ’'"
_KAMENICKY = (
    "ČüéďäĎŤčěĚĹÍľĺÄÁÉžŽôöÓůÚýÖÜŠĽÝŘťáíóúňŇŮÔšřŕŔ¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐"
    "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\xa0"
)
_GEORGIAN = "აბგდევზჱთიკლმნჲოპჟრსტჳუფქღყშჩცძწჭხჴჯჰჵ"

_DECODERS: dict[str, Callable[[bytes], str]] = {
    "utf8mb4": bytes.decode,  # UTF-8
    "utf8mb3": bytes.decode,
    "ascii": _codec("ascii"),
    # "latin1" is Windows-1252 whose five holes are the control characters of the same number.
    "latin1": _single_byte("cp1252", {hole: chr(hole) for hole in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}),
    "latin2": _codec("iso8859_2"),
    "latin5": _codec("iso8859_9"),
    "latin7": _codec("iso8859_13"),
    "cp1250": _codec("cp1250"),
    "cp1251": _codec("cp1251"),
    "cp1256": _single_byte("cp1256", dict.fromkeys((0x8A, 0x8F, 0x98, 0x9A, 0x9F, 0xAA, 0xC0, 0xFF), None)),
    "cp1257": _codec("cp1257"),
    "cp850": _codec("cp850"),
    "cp852": _codec("cp852"),
    "cp866": _single_byte("cp866", {0xFC: "\u207f", 0xFD: "\u00b2"}),
    "greek": _single_byte(
        "iso8859_7",
        {0xA1: "\u02bd", 0xA2: "\u02bc", **dict.fromkeys((0xA4, 0xA5, 0xAA, 0xAE, 0xD2, 0xFF), None)},
    ),
    "hebrew": _single_byte("iso8859_8", {0xAF: "\u203e"}),
    "hp8": _codec("hp_roman8"),
    "koi8r": _codec("koi8_r"),
    "koi8u": _single_byte("koi8_u", {0x95: "\u2022"}),
    "macce": _codec("mac_latin2"),
    "macroman": _codec("mac_roman"),
    "armscii8": _single_byte("latin1", _run(0xA1, _ARMENIAN)),
    "dec8": _single_byte(
        "latin1",
        {0xA8: "¤", 0xD7: "Œ", 0xDD: "Ÿ", 0xF7: "œ", 0xFD: "ÿ"}
        | dict.fromkeys(b"\xa4\xa6\xac\xad\xae\xaf\xb4\xb8\xbe\xd0\xde\xf0\xfe\xff", None),
    ),
    "geostd8": _single_byte(
        "cp1252",
        _run(0xC0, _GEORGIAN)
        | dict.fromkeys(b"\x83\x88\x8a\x8c\x8e\x98\x99\x9a\x9c\x9e\x9f", None)
        | dict.fromkeys(range(0xE6, 0x100), None)
        | {0xFD: "№"},
    ),
    "keybcs2": _single_byte("latin1", _run(0x80, _KAMENICKY)),
    "swe7": _single_byte("ascii", _run(0x5B, "ÄÖÅÜ") | _run(0x7B, "äöåü") | {0x40: "É", 0x60: "é", 0x7F: None}),
    # What it does not define the servers read as U+FFFD.
    "tis620": _single_byte("tis_620", dict.fromkeys(b"\xa0\xdb\xdc\xdd\xde\xfc\xfd\xfe\xff", "\ufffd")),
    "gbk": _codec("gbk"),
    "gb2312": _codec("gb2312"),
    "euckr": _codec("cp949"),
    "ucs2": _ucs2,
    "utf16": _codec("utf_16_be"),
    "utf16le": _codec("utf_16_le"),
    "utf32": _codec("utf_32_be"),
}


def text_decoder(charset: str) -> Callable[[bytes], str] | None:
    """Bytes to text, strictly; None if this reader has no exact decoder for the character set."""
    if charset not in _DECODERS and (made := multibyte.decoder(charset)) is not None:
        _DECODERS[charset] = made  # tables of thousands of codes: only where they are needed
    return _DECODERS.get(charset)
