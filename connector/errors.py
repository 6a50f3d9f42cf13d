"""Every error the connector raises on purpose, as one tree. Nothing else may define a public exception.

    VecsyncError
    ├── ConfigurationError          exit 3   the configuration cannot be used
    │   └── UsageError              exit 2   the command line asks for something that does not exist
    │       └── QueryRefused        exit 2   a search that cannot be answered as it was asked
    │           ├── QuerySyntax     exit 2   not FTS5's query language; `position` says where
    │           ├── UnknownDataset  exit 2   the replica has no such dataset
    │           ├── DimensionMismatch exit 2 the query's vector has another size than the stored ones
    │           └── NoEmbedder      exit 2   nothing turns the query's text into a vector of the stored model
    ├── PreflightRefused            exit 4   the source is set up so that a row could be lost
    ├── DifferenceFound             exit 5   source and replica differ
    ├── Unreachable                 exit 6   a server does not answer            (retriable)
    │   ├── AuthenticationFailed    exit 6   it answers, and refuses the account
    │   ├── CertificateRefused      exit 6   one of the two sides does not trust the other's certificate
    │   ├── ConnectionLost          exit 6   it answered, and went away          (retriable)
    │   │   └── NotYet              exit 6   it answers, but another session holds the table (retriable)
    │   ├── DeliveryFailed          exit 6   the broker did not take a record    (retriable)
    │   ├── LeaseLost               exit 6   the right to publish ended meanwhile (retriable)
    │   └── LeaseTaken              exit 6   another capture of the same prefix has that right
    └── DataRefused                 exit 7   going on would lose or reorder a row
        ├── PositionLost            exit 7   the source no longer has what comes next
        ├── ForeignLog              exit 7   topic or source is not the one recorded
        │   └── ForeignTopic        exit 7   a topic that lost what was acknowledged, or was made again
        ├── CorruptedLog            exit 7   bytes that are not what the format says
        ├── UnsupportedChange       exit 7   a change that is not understood, or came incomplete
        │   └── UnseenRows          exit 7   a statement changed rows of a table, and the log does not say which
        │       └── TableAppeared   exit 7   a table that is to be followed, and was not before
        ├── UnpublishableRow        exit 7   a row that the broker can never take
        ├── DuplicateServerId       exit 7   another reader uses our server_id
        └── ReplicaRefused          exit 7   the replica file is newer, foreign, or already has a writer

`retriable` says whether the same call may succeed later without anybody doing anything. `hint` says what to do.
"""

from typing import ClassVar


class VecsyncError(Exception):
    """Base of all; `hint` is one sentence a user can act on, and is part of what the command line prints."""

    retriable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class ConfigurationError(VecsyncError):
    exit_code = 3
    hint = "Run `vecsync config check` to see every setting and where it came from."


class UsageError(ConfigurationError):
    exit_code = 2
    hint = "Add --help to the command to see what it takes."


class QueryRefused(UsageError):
    hint = "Change the query; nothing was searched."


class QuerySyntax(QueryRefused):
    """position: where in the query, in characters from 0."""

    hint = "Put words with punctuation into double quotes, or use the plain syntax, which takes any text."

    def __init__(self, message: str, position: int, *, hint: str | None = None) -> None:
        super().__init__(f"the query cannot be read at character {position + 1}: {message}", hint=hint)
        self.position = position


class UnknownDataset(QueryRefused):
    hint = "Run `vecsync replica status` to see the datasets of the replica."


class DimensionMismatch(QueryRefused):
    hint = "Make the query's vector with the model that the documents carry."


class NoEmbedder(QueryRefused):
    hint = "Search with --mode text, or give the query's vector with --vector."


class PreflightRefused(VecsyncError):
    exit_code = 4
    hint = "Run `vecsync source check` for each finding and the statement that mends it."


class DifferenceFound(VecsyncError):
    exit_code = 5
    hint = "Run `vecsync verify --repair`: it has the rows read again, by way of the log."


class Unreachable(VecsyncError):
    retriable = True
    exit_code = 6
    hint = "Check host, port and network, and that the server is running."


class AuthenticationFailed(Unreachable):
    retriable = False
    hint = "Check user and password (VECSYNC_SOURCE__PASSWORD), and the account's allowed hosts."


class CertificateRefused(Unreachable):
    retriable = False
    hint = "Check the authority that is trusted, the certificate's names, and its dates."


class ConnectionLost(Unreachable):
    hint = "The server went away in the middle of the stream; the connector resumes from its recorded position."


class NotYet(ConnectionLost):
    """The source answers, but not this: no failure, however long it lasts, and nothing to give up for."""

    hint = "Another session holds the table (LOCK TABLES, or a statement that changes it). Capture waits for it."


class DeliveryFailed(Unreachable):
    hint = "Check that the brokers are up and that enough replicas are in sync; nothing after it was written."


class LeaseLost(Unreachable):
    hint = "The brokers did not hear of this capture for too long; it asks for the lease again."


class LeaseTaken(Unreachable):
    retriable = False
    hint = "Another capture of this prefix publishes now. Start this one again, and it waits as the standby."


class DataRefused(VecsyncError):
    exit_code = 7


class PositionLost(DataRefused):
    hint = (
        "The source purged what comes next. Keep its binlogs longer; "
        "then take a new snapshot with `vecsync capture snapshot`."
    )


class ForeignLog(DataRefused):
    hint = "Check the topic prefix and the source; a re-created topic or another server needs a new snapshot."


class ForeignTopic(ForeignLog):
    hint = "Check the topic prefix and the cluster; then take a new snapshot, and replay every replica."


class CorruptedLog(DataRefused):
    hint = "Check disk and network of the server that holds the log; nothing past this point was used."


class UnsupportedChange(DataRefused):
    hint = "Run `vecsync source check`; nothing past this point was used."


class UnseenRows(UnsupportedChange):
    hint = "Run `vecsync capture snapshot`: it reads all rows again and removes from replicas what is gone."


class TableAppeared(UnseenRows):
    """tables: as entries of `source.tables`. unread: rows of them may be there that the log does not name any more."""

    hint = "Run it again: it finds the table, and reads its rows."

    def __init__(self, tables: list[str], why: str, *, unread: bool = False) -> None:
        super().__init__(f"{', '.join(tables)}: {why}")
        self.tables = tables
        self.unread = unread


class UnpublishableRow(DataRefused):
    hint = (
        "Raise max.message.bytes of the topic and message.max.bytes of the producer, make the row smaller, "
        "or set publish.errors_tolerance to `all` to send such rows to the dead letters."
    )


class DuplicateServerId(DataRefused):
    hint = "Give this connector a server id of its own (source.server_id)."


class ReplicaRefused(DataRefused):
    hint = "Check replica.path; one writer per file, and never an older program on a newer file."
