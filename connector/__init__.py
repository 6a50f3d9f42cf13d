"""vecsync-connector: exact SQLite replicas of documents and embeddings kept in MySQL or MariaDB."""

__version__ = "0.1.0"
