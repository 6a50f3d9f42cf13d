"""How long recovery takes: each fault that docs/guarantees.md names is provoked on real servers while a writer goes on,
and what it took is written to docs/reference/recovery.md by `python -m tests.system.recovery`."""
