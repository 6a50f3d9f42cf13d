"""The test suites. A package only so that `tests.servers` can be imported from every one of them."""
