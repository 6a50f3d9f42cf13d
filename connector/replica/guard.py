"""The order guard: does an event change a replica, and how. Pure.

A replica may be handed any event again, late, or by a writer that has been overtaken; the orders alone decide.
A document refuses what is not above its own order; a floor removes, and refuses, what is strictly below it; a forgotten
tombstone goes on refusing through its collection's bound.
"""

from __future__ import annotations

from enum import Enum

from connector.model import ZERO_ORDER, Change, CommitOrder, DocChange, Floor


class Verdict(Enum):
    SKIP = "skip"  # known already, or overtaken
    UPSERT = "upsert"
    DELETE = "delete"  # also of what could not be published: its order stays, the document goes
    FLOOR = "floor"  # record it, and take what is strictly below


def judge(
    change: Change,
    stored: CommitOrder | None,
    floor: CommitOrder = ZERO_ORDER,
    forgotten: CommitOrder = ZERO_ORDER,
) -> Verdict:
    """What to do with a change.

    stored     the order held for its key, by a document or by the tombstone of one; None: the key is absent
    floor      the greatest floor that counts for its dataset: the dataset's own, and its partition's of the table
    forgotten  the greatest order of a tombstone of its dataset that was forgotten

    A floor is never skipped: applied again it finds nothing below it, unless something stale came in between.
    """
    if type(change) is Floor:
        return Verdict.FLOOR
    order = change.order
    if order < floor or (order <= stored if stored is not None else order <= forgotten):
        return Verdict.SKIP
    if type(change) is DocChange:
        return Verdict.DELETE if change.after is None else Verdict.UPSERT
    return Verdict.UPSERT


def falls(order: CommitOrder, floor: CommitOrder) -> bool:
    """Does a floor take what stands at that order?"""
    return order < floor
