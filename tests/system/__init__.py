"""What whole-system tests share: a random workload on a source, and the comparison of a replica with it."""
