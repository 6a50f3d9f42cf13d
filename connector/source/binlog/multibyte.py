"""Character sets of one to four bytes a character: Python's codecs but for what the servers convert otherwise. Pure.

What differs was found by comparing every code with the servers' own conversion, and a test does so again. Bytes that
the character set does not define raise UnicodeDecodeError.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping

_EUC = re.compile(rb"[\x00-\x7f]+|\x8f..|..|.", re.DOTALL)
_BIG5 = re.compile(rb"[\x00-\x7f]+|..|.", re.DOTALL)
_SHIFT_JIS = re.compile(rb"[\x00-\x7f\xa1-\xdf]+|[\x80\xa0\xfd-\xff]|..|.", re.DOTALL)
_GB18030 = re.compile(rb"[\x00-\x7f]+|[\x81-\xfe][0-9][\x81-\xfe][0-9]|..|.", re.DOTALL)

# Behind JIS X 0212 in rows 83 and 84 of eucJP-ms, from cell 83 on: IBM's extension.
_IBM = (
    "\u2170\u2171\u2172\u2173\u2174\u2175\u2176\u2177\u2178\u2179\u2160\u2161\u2162\u2163\u2164\u2165\u2166\u2167"
    "\u2168\u2169\uff07\uff02\u3231\u2116\u2121\u70bb\u4efc\u50f4\u51ec\u5307\u5324\ufa0e\u548a\u5759\ufa0f\ufa10"
    "\u589e\u5bec\u5cf5\u5d53\ufa11\u5fb7\u6085\u6120\u654e\u663b\u6665\ufa12\uf929\u6801\ufa13\ufa14\u6a6b\u6ae2"
    "\u6df8\u6df2\u7028\ufa15\ufa16\u7501\u7682\u769e\ufa17\u7930\ufa18\ufa19\ufa1a\ufa1b\u7ae7\ufa1c\ufa1d\u7da0"
    "\u7dd6\ufa1e\u8362\ufa1f\u85b0\ufa20\ufa21\u8807\ufa22\u8b7f\u8cf4\u8d76\ufa23\ufa24\ufa25\u90de\ufa26\u9115"
    "\ufa27\ufa28\u9592\uf9dc\ufa29\u973b\u974d\u9751\ufa2a\ufa2b\ufa2c\u999e\u9ad9\u9b72\ufa2d\u9ed1"
)


def decoder(charset: str) -> Callable[[bytes], str] | None:
    """Bytes to text, strictly; None: not one of those here."""
    made = _MAKERS.get(charset)
    return None if made is None else made()


def _but_for(codec: str, codes: re.Pattern[bytes], differences: Mapping[bytes, str | None]) -> Callable[[bytes], str]:
    """By the codec, as long as it yields nothing that may come of a code in `differences` (None: undefined on the
    server), and otherwise code by code. codes: cuts a text into codes; several of one byte may stay together where none
    of them differs."""
    plain = codecs.lookup(codec).decode
    yields = {plain(code, "ignore")[0] for code in differences}
    doubtful = re.compile(f"[{re.escape(''.join(yields))}]") if any(yields) else None

    def one(code: bytes) -> str:
        known = differences.get(code, "")
        if known is None:
            raise UnicodeDecodeError(codec, code, 0, len(code), "the character set does not define it")
        return known or plain(code, "strict")[0]

    def decode(data: bytes) -> str:
        try:
            text = plain(data, "strict")[0]
        except UnicodeDecodeError:
            pass
        else:
            if doubtful is None or doubtful.search(text) is None:
                return text
        return "".join(map(one, codes.findall(data)))

    return decode


def _users_own(rows: bytes, first: int) -> dict[bytes, str]:
    """The ten last rows of an EUC plane are the user's own; the servers keep them in the private use area."""
    return {
        rows + bytes([row, cell]): chr(first + (row - 0xF5) * 94 + cell - 0xA1)
        for row in range(0xF5, 0xFF)
        for cell in range(0xA1, 0xFF)
    }


_USERS_OWN = {**_users_own(b"", 0xE000), **_users_own(b"\x8f", 0xE3AC)}


def _ujis() -> Callable[[bytes], str]:
    return _but_for("euc_jp", _EUC, {b"\xa1\xc0": "\\", **_USERS_OWN})


def _eucjpms() -> Callable[[bytes], str]:
    """What is of JIS X 0208, and NEC's row 13, is what Windows takes it for."""
    differences: dict[bytes, str | None] = {}
    for row in range(0xA1, 0xF5):
        for cell in range(0xA1, 0xFF):
            code = bytes([row, cell])
            text = _strictly(_in_shift_jis(row - 0xA0, cell - 0xA0), "cp932")
            if _strictly(code, "euc_jp") != text:
                differences[code] = text
    differences |= {b"\x8f\xa2\xb7": "\uff5e", b"\x8f\xa2\xc3": "\uffe4"}
    cells = [bytes([0x8F, row, cell]) for row in (0xF3, 0xF4) for cell in range(0xA1, 0xFF)]
    differences |= dict(zip(cells[0xF3 - 0xA1 :], _IBM, strict=True))
    return _but_for("euc_jp", _EUC, differences | _USERS_OWN)


def _strictly(code: bytes, codec: str) -> str | None:
    try:
        return code.decode(codec)
    except UnicodeDecodeError:
        return None


def _in_shift_jis(row: int, cell: int) -> bytes:
    lead = (row - 1) // 2 + 0x81
    trail = cell + 0x9E if row % 2 == 0 else cell + (0x3F if cell < 0x40 else 0x40)
    return bytes([lead if lead < 0xA0 else lead + 0x40, trail])


def _big5() -> Callable[[bytes], str]:
    """Seven codes stand for what others stand for too, or did so once: the servers take them for none."""
    none = ("a15a", "a1c3", "a1c5", "a1fe", "a240", "a2cc", "a2ce")
    more = {bytes([0xF9, cell]): char for cell, char in zip(range(0xD6, 0xDD), "碁銹裏墻恒粧嫺", strict=True)}
    return _but_for("big5", _BIG5, {**{bytes.fromhex(code): "\ufffd" for code in none}, **more})


_MAKERS: Mapping[str, Callable[[], Callable[[bytes], str]]] = {
    "sjis": lambda: _but_for("shift_jis", _SHIFT_JIS, {b"\x81\x5f": "\\"}),
    "cp932": lambda: _but_for("cp932", _SHIFT_JIS, {bytes([octet]): None for octet in (0x80, 0xA0, 0xFD, 0xFE, 0xFF)}),
    "ujis": _ujis,
    "eucjpms": _eucjpms,
    "big5": _big5,
    "gb18030": lambda: _but_for("gb18030", _GB18030, {b"\xa8\xbc": "\u1e3f", b"\x81\x35\xf4\x37": "\ue7c7"}),
}
