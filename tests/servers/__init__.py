"""Real MariaDB, MySQL and Kafka servers for tests and benchmarks.

Tests see `model` (what a server is, and what can be done to it) and the fixtures of the `fix_*` modules; only
those know which `Provider` the servers come from. `local` runs them as processes of this machine, each on free
loopback ports with a data directory of its own; it never touches a server that it did not start.
"""
