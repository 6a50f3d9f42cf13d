"""A producer in a process of its own: `embedded_producer.py FILE TOPIC PARTITIONS COUNT [LIMIT]`.

Prints `partition offset value` for every acknowledgement, so that what it was told outlives it. LIMIT: no file of it
may grow beyond so many bytes, as on a full disk.
"""

from __future__ import annotations

import resource
import sys
from collections import deque
from pathlib import Path

from connector.broker.embedded import EmbeddedBroker
from connector.errors import DeliveryFailed
from connector.model import Lane


def main(file: str, topic: str, partitions: str, count: str, limit: str = "") -> int:
    lanes = [Lane(topic, n) for n in range(int(partitions))]
    sent: dict[Lane, deque[int]] = {lane: deque() for lane in lanes}

    def acknowledged(lane: Lane, offset: int) -> None:
        sys.stdout.write(f"{lane.partition} {offset} {sent[lane].popleft()}\n")

    producer = EmbeddedBroker(Path(file)).producer(acknowledged)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        for number in range(int(count)):
            lane = lanes[number % len(lanes)]
            sent[lane].append(number)
            producer.send(lane, b"%d" % number, b"%d " % number + bytes(500))
            producer.poll(0)
            sys.stdout.flush()
        producer.flush(30)
    except DeliveryFailed as error:
        sys.stderr.write(f"DeliveryFailed: {error}\n")
        return 6
    finally:
        sys.stdout.flush()
        producer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
