"""Tests of the binlog decoder on bytes: written by `writer`, or captured from servers (`data/`)."""
