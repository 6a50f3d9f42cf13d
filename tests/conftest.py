"""Registers the fixture plugins; fixtures themselves live in modules of their own, one per concern."""

pytest_plugins = [
    "tests.suites",
    "tests.progress",
    "tests.properties",
    "tests.servers.fix_provider",
    "tests.servers.fix_sql",
    "tests.servers.fix_mariadb",
    "tests.servers.fix_mysql",
    "tests.servers.fix_kafka",
    "tests.servers.fix_secure",
    "tests.servers.fix_registry",
    "tests.servers.fix_replicas",
    "tests.servers.fix_proxy",
]
