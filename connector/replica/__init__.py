"""From the topics to an exact SQLite replica. It knows events, never the source they came from."""
