"""Source against replica: is every row of the one exactly in the other?

Sees both sides, and writes to neither.
"""

from connector.verify.compare import Comparison, Difference, Kind
from connector.verify.sides import Sides

__all__ = ["Comparison", "Difference", "Kind", "Sides"]
