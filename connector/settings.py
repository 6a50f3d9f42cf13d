"""The configuration: every key, its default and its meaning, in one place.

Sources, strongest first: command line, environment (`VECSYNC_SOURCE__URL`), `.env`, secrets directory, YAML file.
Unknown keys are refused. Pydantic is used at this edge only; the descriptions feed the generated reference.
One module, though a long one: a list of keys is where one looks them up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)
from yaml import MappingNode, SafeLoader, YAMLError
from yaml import load as load_yaml
from yaml.constructor import ConstructorError

from connector.errors import ConfigurationError
from connector.settings_json import not_json

ENV_PREFIX = "VECSYNC_"
DEFAULT_FILE = "vecsync.yaml"
_SECRETS_DIR = f"{ENV_PREFIX}SECRETS_DIR"

# Nothing that reads the configuration can help before it can be read.
_MEND = "Mend it where it is set (a file, a variable, an option); docs/reference/configuration.md has every key."


# An error must not repeat what was given: it may be a password in the wrong place.
class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsSettings(Section):
    ca: Path | None = Field(None, description="File with the certificates of the authorities to trust.")
    cert: Path | None = Field(None, description="Client certificate.")
    key: Path | None = Field(None, description="Key of the client certificate.")
    key_password: SecretStr | None = Field(None, description="Passphrase of the key; by environment or secrets file.")
    verify: bool = Field(True, description="Check the server's certificate and name.")


class Mapping(Section):
    """Names that differ from the usual ones."""

    dataset_id: str = Field("dataset_id", description="Column with the dataset.")
    id: str = Field("id", description="Column with the document's id.")
    content: str = Field("content", description="Column with the text.")
    meta: str = Field("meta", description="Column with the metadata.")
    embedding: str = Field("embedding", description="Column with the vector, float32 little-endian.")
    embedding_model: str = Field("embedding_model", description="Column with the model's name.")
    scn: str = Field("scn", description="Column with the change number.")
    archived: str = Field("archived", description="Column with the archive flag.")
    created_at: str = Field("created_at", description="Column with the time of creation; may be absent.")
    updated_at: str = Field("updated_at", description="Column with the time of the last change; may be absent.")
    dataset_table: str = Field("vec_dataset", description="Table of the datasets.")
    log_table: str = Field("vec_shadow_log", description="Table that the triggers write to.")


_ENTRY = re.compile(r"(?:(`(?:[^`]|``)+`|[^.`]+)\.)?(`(?:[^`]|``)+`|[^.`]+)")


def entry_parts(entry: str) -> list[str]:
    """Of an entry of `source.tables`, as written: the table, and before it the database where it is named. Raises
    ValueError."""
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError("tables: neither `table` nor `database.table`; a name that holds a dot is put in backquotes")
    return [part for part in found.groups() if part is not None]


def is_pattern(entry: str) -> bool:
    """Whether an entry of `source.tables` stands for every table that matches. In backquotes, `*` is itself."""
    return any("*" in part and not part.startswith("`") for part in entry_parts(entry))


class SourceSettings(Section):
    kind: Literal["mysql", "sqlite"] = Field("mysql", description="`mysql` is MariaDB too.")
    url: str = Field(
        "mysql://vecsync@127.0.0.1:3306/app",
        description="`mysql://user@host:port/database` or `sqlite:///path`. Never put a password here.",
    )
    password: SecretStr | None = Field(None, description="Password; by environment or secrets file.")
    reader: Literal["binlog", "mysql-replication", "shadow_log"] | None = Field(
        None,
        description="How changes are read; `binlog` for mysql, `shadow_log` for sqlite, unless said. "
        "`mysql-replication`: rows of the binlog are decoded by the package of that name (an extra), slower.",
    )
    tables: list[str] = Field(
        ["shadow_vec_docs"],
        min_length=1,
        description="Shadow tables to follow: `table`, of the database in `source.url`, or `database.table`. With `*` "
        "in either, every table that matches, also those made later. A name with a dot or star of its own is put in "
        "backquotes. Where a shadow log is read: tables of its database, by bare names.",
    )
    mapping: Mapping = Field(Mapping(), description="Column and table names that differ from the usual ones.")
    server_id: int | None = Field(
        None, ge=1, le=2**32 - 1, description="Server id of this reader; derived from the topic prefix unless said."
    )
    row_metadata: Literal["full", "minimal"] = Field(
        "full",
        description="`minimal`: also follow a log that does not name its columns (`binlog_row_metadata` is not FULL). "
        "They are then called as in the table now, if it agrees with the log in all that the log says of it.",
    )
    snapshot: Literal["initial", "when_needed", "no_data"] = Field(
        "initial",
        description="Without a recorded position, and after a statement that changes a table as a whole, read all rows "
        "(`initial`), or only what changes, and stop at such a statement (`no_data`). `when_needed`: read all rows "
        "also where the log cannot be followed any further (purged, reset, another server that lacks what was "
        "published), instead of stopping.",
    )
    snapshot_chunk_rows: int = Field(2000, ge=1, description="Rows read by one SELECT of a snapshot.")
    connect_timeout_s: float = Field(10, gt=0, description="Seconds to wait for a connection.")
    heartbeat_s: float = Field(10, gt=0, description="Seconds of silence after which the server sends a heartbeat.")
    reconnect_max_s: float = Field(
        300, ge=0, description="Seconds for which a lost connection is tried again before giving up."
    )
    poll_interval_s: float = Field(0.01, gt=0, description="Seconds between two looks into a trigger log.")
    late_commit_window_s: float = Field(
        60,
        ge=0,
        description="Shadow logs of mysql: seconds for which an entry is looked for that may become visible after a "
        "later one.",
    )
    tls: TlsSettings | None = Field(None, description="Encrypt the connection.")
    plaintext: bool = Field(
        False,
        description="Do not encrypt where the server offers it either: costs both ends less, and is for a server on "
        "this machine or in a network that is trusted.",
    )

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        if re.match(r"(?!sqlite:)[a-z]+://([^@]*:[^@]*@|.*[?&]passw)", url):
            raise ValueError("holds a password; give it as VECSYNC_SOURCE__PASSWORD or in a secrets file")
        return url

    @property
    def reads_log(self) -> bool:
        """Whether the shadow log is read, and not the binlog."""
        return self.kind == "sqlite" or self.reader == "shadow_log"

    @model_validator(mode="after")
    def _agrees(self) -> SourceSettings:
        scheme = self.url.split(":", 1)[0]
        if scheme != self.kind:
            raise ValueError(f"kind is {self.kind!r} and the url begins with {scheme!r}")
        if self.plaintext and self.tls is not None:
            raise ValueError("tls asks for encryption, and plaintext for none; leave one of them out")
        if self.kind == "sqlite" and self.reader not in (None, "shadow_log"):
            raise ValueError("a SQLite source has no binlog; use reader: shadow_log")
        if self.kind == "sqlite" and any("*" in entry for entry in self.tables):
            raise ValueError("a pattern in tables needs a binlog; name each table of a SQLite source")
        if self.kind == "mysql":
            if self.reader == "shadow_log" and any(map(is_pattern, self.tables)):
                raise ValueError("a pattern in tables needs the binlog; name each table for reader shadow_log")
            bare = [entry_parts(entry) == [entry] for entry in self.tables]
            if self.reader == "shadow_log" and not all(bare):
                raise ValueError("reader shadow_log reads one database, that of the url; give tables by bare names")
        return self


class BrokerSettings(Section):
    kind: Literal["kafka", "embedded"] = Field("kafka", description="`embedded` is a durable log in one file.")
    bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers to begin with.")
    path: Path = Field(Path("events.db"), description="File of the embedded log.")
    options: dict[str, str | int | float | bool] = Field(
        {}, repr=False, description="librdkafka settings, passed through (`security.protocol`, `sasl.mechanism`, ...)."
    )
    password: SecretStr | None = Field(None, description="`sasl.password`, by environment or secrets file.")

    @field_validator("options")
    @classmethod
    def _no_password(cls, options: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        if "sasl.password" in options:
            raise ValueError("sasl.password is given as VECSYNC_BROKER__PASSWORD or in a secrets file")
        return options


class RegistrySettings(Section):
    url: str | None = Field(
        None, description="Schema registry with Confluent's API; without one, values name their schema themselves."
    )
    user: str | None = Field(None, description="Account there (basic authentication).")
    password: SecretStr | None = Field(None, description="Its password; by environment or secrets file.")
    subject_strategy: Literal["topic", "record"] = Field(
        "topic",
        description="Subjects: one for each topic, `<topic>-value`, or for each kind of record, by its name.",
    )
    auto_register: bool = Field(
        False, description="Register what is missing; otherwise capture stops, and `vecsync schemas register` does it."
    )
    timeout_s: float = Field(10, gt=0, description="Seconds to wait for an answer.")
    tls: TlsSettings | None = Field(None, description="Authorities and certificate for an https url.")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("is not written as http://host:port/path, or with https")
        if parts.username or parts.password:
            raise ValueError("holds an account; use registry.user, and VECSYNC_REGISTRY__PASSWORD or a secrets file")
        return url


class TopicsSettings(Section):
    prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,80}$")] = Field(
        "vecsync", description="First part of every topic's name; one source owns it."
    )
    partitions: int = Field(8, ge=1, le=4096, description="Partitions of the data topics. Never changed afterwards.")
    replication_factor: int = Field(1, ge=1, description="Copies of each partition.")
    max_message_bytes: int = Field(
        16 * 2**20, ge=2**16, description="Largest record; larger rows are refused by name, never cut."
    )
    min_compaction_lag_s: int = Field(3600, ge=0, description="How long every version stays readable.")


class PublishSettings(Section):
    errors_tolerance: Literal["none", "all"] = Field(
        "none", description="`none` stops at a row that can never be published; `all` sends it to the dead letters."
    )
    in_flight_bytes: int = Field(32 * 2**20, ge=2**20, description="Bytes sent and not yet acknowledged, at most.")
    position_interval_s: float = Field(1.0, gt=0, description="Seconds between two recorded positions.")
    takeover_wait_s: float = Field(
        3.0, ge=0, description="Seconds to wait after a publisher that did not end in order, before its log is read."
    )


class ModelSettings(Section):
    dims: int | None = Field(None, ge=1, le=8192, description="Only this dimension is right; others are quarantined.")
    embedder: str | None = Field(None, description="Embedder for queries against this model (`wordllama`, `hashing`).")


class ReplicaSettings(Section):
    path: Path = Field(Path("replica.db"), description="The replica; a symbolic link to its present generation.")
    mode: Literal["broadcast"] = Field("broadcast", description="Every replica has every dataset it follows.")
    group: str = Field("app", min_length=1, description="Consumer group whose offsets lag tools see.")
    database: str | None = Field(
        None,
        min_length=1,
        description="Database of the source whose tables are followed, all of them. Needed where the prefix has tables "
        "of several: their datasets are others, and a replica has those of one.",
    )
    datasets: list[str] = Field(["*"], min_length=1, description="Datasets to follow; shell patterns.")
    models: dict[str, ModelSettings] = Field({}, description="What is known of embedding models, by name.")
    batch_records: int = Field(4000, ge=1, description="Records applied in one transaction, at most.")
    gc_interval_s: float = Field(1.0, gt=0, description="Seconds between two rounds of vector collection.")


class IngestSettings(Section):
    embedder: str = Field("hashing", description="`hashing` needs nothing; `wordllama` is a small offline model.")
    chunk_chars: int = Field(1200, ge=100, description="Length a chunk aims at, in characters.")
    batch_rows: int = Field(200, ge=1, description="Rows written in one transaction.")


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is printed.")
    format: Literal["auto", "console", "json"] = Field("auto", description="`auto`: console on a terminal, else JSON.")


class _StrictLoader(SafeLoader):
    """YAML itself lets the last of two equal keys win."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _YamlFile(YamlConfigSettingsSource):
    def _read_file(self, file_path: Any) -> dict[str, Any]:
        with file_path.open(encoding="utf-8") as file:
            content = load_yaml(file, _StrictLoader)  # noqa: S506 - it is a SafeLoader
        if content is not None and not isinstance(content, dict):
            raise ValueError(f"{file_path} holds no sections")
        return content or {}


class Settings(BaseSettings):
    """Everything. `load` is the way to make one."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        dotenv_filtering="match_prefix",  # `.env` is shared with other programs; what begins as ours must be known
    )

    source: SourceSettings = Field(SourceSettings(), description="The database whose documents are followed.")
    broker: BrokerSettings = Field(BrokerSettings(), description="The log between source and replicas.")
    registry: RegistrySettings = Field(
        RegistrySettings(), description="Where schemas are looked up, if values shall carry a registry's ids."
    )
    topics: TopicsSettings = Field(TopicsSettings(), description="Names and shape of the topics.")
    publish: PublishSettings = Field(PublishSettings(), description="From the source to the topics.")
    replica: ReplicaSettings = Field(ReplicaSettings(), description="From the topics to a SQLite file.")
    ingest: IngestSettings = Field(IngestSettings(), description="From files to rows of the source.")
    log: LogSettings = Field(LogSettings(), description="What is printed about the work.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        yaml = _YamlFile(settings_cls)
        secrets = NestedSecretsSettingsSource(file_secret_settings)
        return init_settings, env_settings, dotenv_settings, secrets, yaml


def load(file: Path | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Settings from all sources. file: None takes `vecsync.yaml` when it exists; a file that is named must exist.

    overrides: sections with keys, as the command line gives them. Raises ConfigurationError, naming each wrong key.
    """
    try:
        return _class_for(file)(**(overrides or {}))
    except ValidationError as error:
        lines = "\n".join(
            f"  {'.'.join(str(part) for part in e['loc'])}: {_plain(e['msg'], e['type'])}" for e in error.errors()
        )
        raise ConfigurationError(f"the configuration cannot be used:\n{lines}", hint=_MEND) from error
    except SettingsError as error:
        wrong = not_json(Settings, ENV_PREFIX, os.environ.get(_SECRETS_DIR))
        raise wrong or ConfigurationError(f"the configuration cannot be read: {error}", hint=_MEND) from error
    except (YAMLError, ValueError) as error:
        raise ConfigurationError(f"the configuration cannot be read: {error}", hint=_MEND) from error


def origins(file: Path | None = None, overrides: dict[str, Any] | None = None) -> dict[str, str]:
    """Where each key that is set was set, by dotted key: `VECSYNC_...`, `.env`, `secrets directory`, the YAML file's
    name, or `command line`; keys that have their default are not in it. Raises as `load` does, which must succeed."""
    chosen = str(file or DEFAULT_FILE)
    names = ("command line", "environment", ".env", "secrets directory", chosen)
    found: dict[str, str] = {}

    class _Traced(_class_for(file)):  # type: ignore[misc]  # a class made at run time
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *args: PydanticBaseSettingsSource,
            **named: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = super().settings_customise_sources(settings_cls, *args, **named)
            for name, source in zip(names, sources, strict=True):
                for key in dotted(source()):
                    shown = f"{ENV_PREFIX}{key.upper().replace('.', '__')}" if name == "environment" else name
                    found.setdefault(key, shown)
            return tuple(sources)

    _Traced(**(overrides or {}))
    return found


def dotted(values: dict[str, Any]) -> dict[str, Any]:
    """Nested sections as one mapping: `{"source": {"url": u}}` becomes `{"source.url": u}`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat.update({f"{name}.{key}": inner for key, inner in dotted(value).items()})
        else:
            flat[name] = value
    return flat


def _class_for(file: Path | None) -> type[Settings]:
    if file is not None and not file.is_file():
        raise ConfigurationError(f"there is no configuration file {file}", hint="Write one, or leave out --config.")
    secrets = os.environ.get(_SECRETS_DIR)
    files = os.listdir(secrets) if secrets is not None and os.path.isdir(secrets) else []
    for place, names in (("environment variable", list(os.environ)), ("secrets file", files)):
        for name in names:
            if name.upper().startswith(ENV_PREFIX) and not _is_known(name.upper()):
                raise ConfigurationError(
                    f"unknown {place} {name}", hint="Sections and keys are joined by two underscores."
                )

    class _Loaded(Settings):
        model_config = SettingsConfigDict(
            yaml_file=file or Path(DEFAULT_FILE),
            env_file=".env",
            secrets_dir=secrets,
            secrets_dir_missing="error",
        )

    return _Loaded


def _is_known(name: str) -> bool:
    """Whether it names a section; whether that has the key shows when the section is read."""
    return name == _SECRETS_DIR or name[len(ENV_PREFIX) :].split("__")[0].lower() in Settings.model_fields


def _plain(message: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such key"
    return message.removeprefix("Value error, ")
