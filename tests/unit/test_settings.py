"""Where settings come from, which are refused, and that secrets stay secret."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigurationError
from connector.settings import Settings, load

PASSWORD = "s3cret-word"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and nothing of the machine's own environment."""
    for name in os.environ:
        if name.upper().startswith("VECSYNC_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _yaml(text: str) -> None:
    Path("vecsync.yaml").write_text(text, encoding="utf-8")


def test_without_any_source_the_defaults_hold() -> None:
    settings = load()
    assert settings.model_dump() == Settings.model_construct().model_dump()
    assert (settings.topics.prefix, settings.topics.partitions) == ("vecsync", 8)
    assert settings.source.password is None


def _as_file(value: str) -> None:
    _yaml(f"topics: {{prefix: {value}}}")


def _as_secret(value: str) -> None:
    Path("secrets").mkdir(exist_ok=True)
    Path("secrets/VECSYNC_TOPICS__PREFIX").write_text(f"{value}\n")
    os.environ["VECSYNC_SECRETS_DIR"] = "secrets"


def _as_dotenv(value: str) -> None:
    Path(".env").write_text(f"VECSYNC_TOPICS__PREFIX={value}\n")


def _as_environment(value: str) -> None:
    os.environ["VECSYNC_TOPICS__PREFIX"] = value


WEAKEST_FIRST: list[Callable[[str], None]] = [_as_file, _as_secret, _as_dotenv, _as_environment]


def test_each_source_is_stronger_than_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VECSYNC_SECRETS_DIR", "VECSYNC_TOPICS__PREFIX"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    assert load().topics.prefix == "vecsync"
    for number, give in enumerate(WEAKEST_FIRST):
        give(f"from-{number}")
        assert load().topics.prefix == f"from-{number}", give.__name__
    assert load(overrides={"topics": {"prefix": "command-line"}}).topics.prefix == "command-line"


def test_sources_complete_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _yaml("topics: {prefix: yaml, partitions: 3}\nsource: {url: 'mysql://u@h/db', tables: [a, b]}")
    monkeypatch.setenv("VECSYNC_TOPICS__PARTITIONS", "5")
    monkeypatch.setenv("VECSYNC_SOURCE__PASSWORD", PASSWORD)
    settings = load(overrides={"topics": {"replication_factor": 3}})
    assert (settings.topics.prefix, settings.topics.partitions, settings.topics.replication_factor) == ("yaml", 5, 3)
    assert (settings.source.tables, settings.source.url) == (["a", "b"], "mysql://u@h/db")
    assert settings.source.password is not None
    assert settings.source.password.get_secret_value() == PASSWORD


def test_a_named_file_is_taken_instead_of_the_usual_one(directory: Path) -> None:
    _yaml("topics: {prefix: usual}")
    named = directory / "other.yaml"
    named.write_text("topics: {prefix: named}")
    assert load(named).topics.prefix == "named"
    assert load().topics.prefix == "usual"
    with pytest.raises(ConfigurationError, match=r"missing\.yaml"):
        load(directory / "missing.yaml")


def test_an_empty_file_says_nothing() -> None:
    _yaml("# nothing yet\n")
    assert load().topics.prefix == "vecsync"


def test_lists_and_maps_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSYNC_SOURCE__TABLES", '["one", "two"]')
    monkeypatch.setenv("VECSYNC_BROKER__OPTIONS", '{"linger.ms": 7, "security.protocol": "ssl"}')
    settings = load()
    assert settings.source.tables == ["one", "two"]
    assert settings.broker.options == {"linger.ms": 7, "security.protocol": "ssl"}


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("VECSYNC_SOURCE__TABLES", "a,b", """VECSYNC_SOURCE__TABLES='["a", "b"]'"""),
        ("VECSYNC_SOURCE__TABLES", "docs", """VECSYNC_SOURCE__TABLES='["docs"]'"""),
        ("vecsync_source__tables", "['one', two.three ]", """vecsync_source__tables='["one", "two.three"]'"""),
        ("VECSYNC_REPLICA__DATASETS", "a*; é", """VECSYNC_REPLICA__DATASETS='["a*", "é"]'"""),
        ("VECSYNC_BROKER__OPTIONS", f"a={PASSWORD}", """VECSYNC_BROKER__OPTIONS='{"name": ...}'"""),
        ("VECSYNC_REPLICA__MODELS", "m", """VECSYNC_REPLICA__MODELS='{"name": ...}'"""),
        ("VECSYNC_SOURCE", PASSWORD, "VECSYNC_SOURCE__KIND="),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env", "secrets"])
def test_what_is_not_json_is_shown_as_it_would_be(
    name: str, value: str, right: str, place: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "environment":
        monkeypatch.setenv(name, value)
    elif place == ".env":
        Path(".env").write_text(f"{name}={value}\n")
    else:
        (directory / "secrets").mkdir()
        (directory / "secrets" / name).write_text(f"{value}\n")
        monkeypatch.setenv("VECSYNC_SECRETS_DIR", str(directory / "secrets"))
        right = right.partition("=")[2].strip("'") if "[" in right else right
    with pytest.raises(ConfigurationError, match=f"^{name}.*written as JSON") as refused:
        load()
    assert right in refused.value.hint
    assert PASSWORD not in str(refused.value) + refused.value.hint


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSYNC_TOPICS__PREFIX", "")
    assert load().topics.prefix == "vecsync"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("topic: {prefix: x}", "topic"),
        ("topics: {prefx: x}", "topics.prefx"),
        ("source: {mapping: {embeding: x}}", "source.mapping.embeding"),
        ("replica: {models: {m: {dimensions: 3}}}", "replica.models.m.dimensions"),
        ("source: {tls: {verfy: false}}", "source.tls.verfy"),
    ],
)
def test_unknown_keys_of_a_file_are_named(text: str, named: str) -> None:
    _yaml(text)
    with pytest.raises(ConfigurationError, match=f"{named.replace('.', '[.]')}: there is no such key"):
        load()


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("VECSYNC_TOPIC__PREFIX", "TOPIC__PREFIX"),
        ("VECSYNC_TOPICS__PREFX", "topics.prefx"),
        ("VECSYNC_TOPICS_PREFIX", "TOPICS_PREFIX"),
        ("VECSYNC_SOURCE__MAPPING__EMBEDING", "source.mapping.embeding"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env", "secrets"])
def test_unknown_variables_are_named(
    name: str, named: str, place: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "environment":
        monkeypatch.setenv(name, "x")
    elif place == ".env":
        Path(".env").write_text(f"{name}=x\n")
    else:
        (directory / "secrets").mkdir()
        (directory / "secrets" / name).write_text("x")
        monkeypatch.setenv("VECSYNC_SECRETS_DIR", str(directory / "secrets"))
    with pytest.raises(ConfigurationError) as refused:
        load()
    assert named.lower() in str(refused.value).lower()


def test_unknown_keys_of_the_command_line_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"topics\.prefx: there is no such key"):
        load(overrides={"topics": {"prefx": "x"}})


def test_other_programs_variables_are_left_alone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("COMPOSE_PROJECT_NAME=x\nTOPICS__PREFX=y\nMYSQL_PASSWORD=z\n")
    (directory / "secrets").mkdir()
    (directory / "secrets" / "mysql_root_password").write_text("x")
    (directory / "secrets" / "..data").mkdir()  # as Kubernetes mounts them
    monkeypatch.setenv("VECSYNC_SECRETS_DIR", str(directory / "secrets"))
    monkeypatch.setenv("TOPICS__PREFX", "x")
    assert load().topics.prefix == "vecsync"


@pytest.mark.parametrize("name", ["VECSYNC_SOURCE__PASSWORD", "vecsync_source__password"])
def test_a_password_by_a_secrets_file(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "secrets").mkdir()
    (directory / "secrets" / name).write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("VECSYNC_SECRETS_DIR", str(directory / "secrets"))
    settings = load()
    assert settings.source.password is not None
    assert settings.source.password.get_secret_value() == PASSWORD
    assert settings.broker.password is None


def test_a_secrets_directory_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSYNC_SECRETS_DIR", "nowhere")
    with pytest.raises(ConfigurationError, match="nowhere"):
        load()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://user:{PASSWORD}@host:3306/db",
        f"mysql://user:{PASSWORD}/x@host:3306/db",
        f"mysql://user:x@{PASSWORD}@host:3306/db",
        f"mysql://:{PASSWORD}@host/db",
        f"mysql://user@host/db?password={PASSWORD}",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    _yaml(f"source: {{url: '{url}'}}")
    with pytest.raises(ConfigurationError, match=r"source\.url: holds a password") as refused:
        load()
    assert "VECSYNC_SOURCE__PASSWORD" in str(refused.value)
    error: BaseException | None = refused.value
    while error is not None:  # a traceback prints the causes too
        assert PASSWORD not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("url", ["mysql://user@host:3306/db", "mysql://us%40er@host/a:b", "mysql://u@[::1]:3306/db"])
def test_a_url_without_a_password_is_taken(url: str) -> None:
    assert load(overrides={"source": {"url": url}}).source.url == url


def test_a_path_of_sqlite_may_have_any_characters() -> None:
    url = "sqlite:////data/a:b@c.db"
    assert load(overrides={"source": {"kind": "sqlite", "url": url}}).source.url == url


def test_a_password_among_the_brokers_options_is_refused_and_not_repeated() -> None:
    _yaml(f"broker: {{options: {{sasl.password: {PASSWORD}}}}}")
    with pytest.raises(ConfigurationError, match=r"broker\.options: .*VECSYNC_BROKER__PASSWORD") as refused:
        load()
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in str(refused.value.__cause__)


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSYNC_SOURCE__PASSWORD", PASSWORD)
    monkeypatch.setenv("VECSYNC_BROKER__PASSWORD", PASSWORD)
    monkeypatch.setenv("VECSYNC_BROKER__OPTIONS", f'{{"ssl.key.password": "{PASSWORD}"}}')
    settings = load()
    assert settings.broker.password is not None
    for shown in (repr(settings), str(settings), repr(settings.broker), f"{settings.source}"):
        assert PASSWORD not in shown


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"topics": {"partitions": 0}}, "topics.partitions"),
        ({"topics": {"prefix": "has.dot"}}, "topics.prefix"),
        ({"topics": {"max_message_bytes": 10}}, "topics.max_message_bytes"),
        ({"source": {"tables": []}}, "source.tables"),
        ({"source": {"kind": "oracle"}}, "source.kind"),
        ({"source": {"kind": "sqlite"}}, "source: kind is 'sqlite'"),
        ({"source": {"kind": "sqlite", "url": "sqlite:///x.db", "reader": "binlog"}}, "source: a SQLite source"),
        ({"source": {"reader": "shadow_log", "late_commit_window_s": -1}}, "source.late_commit_window_s"),
        ({"source": {"kind": "sqlite", "url": "sqlite:///x.db", "reader": "mysql-replication"}}, "a SQLite source"),
        ({"source": {"server_id": 2**32}}, "source.server_id"),
        ({"publish": {"errors_tolerance": "some"}}, "publish.errors_tolerance"),
        ({"broker": None}, "broker"),
    ],
)
def test_impossible_values_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(overrides=settings)
    assert named in str(refused.value)
    assert refused.value.exit_code == 3


def test_every_wrong_key_is_named_at_once() -> None:
    _yaml("topics: {partitions: none, prefx: x}\nlog: {level: loud}")
    with pytest.raises(ConfigurationError) as refused:
        load()
    for named in ("topics.partitions", "topics.prefx", "log.level"):
        assert named in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [b"topics: {prefix: [", b"- a list\n", b"just text", b"\xff\xfe\x00", b"topics:\n\tprefix: x\n", b"a: &x [*x]"],
)
def test_files_that_are_no_configuration(content: bytes) -> None:
    Path("vecsync.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError):
        load()


def test_a_key_given_twice_is_refused() -> None:
    _yaml("topics: {prefix: one}\nlog: {level: debug}\ntopics: {partitions: 3}\n")
    with pytest.raises(ConfigurationError, match="topics"):
        load()


def test_settings_do_not_change() -> None:
    settings = load()
    with pytest.raises(Exception, match="frozen"):
        settings.topics.prefix = "other"  # type: ignore[misc]


def test_every_key_says_what_it_is_for() -> None:
    def undescribed(model: Any, path: str) -> list[str]:
        found: list[str] = []
        for name, field in model.model_fields.items():
            if not field.description:
                found.append(f"{path}{name}")
            if hasattr(field.annotation, "model_fields"):
                found += undescribed(field.annotation, f"{path}{name}.")
        return found

    assert not undescribed(Settings, "")
