"""Damaged binlogs, and what must never come of them."""
