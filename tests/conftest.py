"""What every test directory shares."""

from __future__ import annotations

import os

import pytest

from tests.harness import busybox, runs_natively


@pytest.fixture(autouse=True, scope="session")
def _plain_environment():
    """Keep the invoker's locale and time zone out of every comparison."""
    saved = {name: os.environ.pop(name, None) for name in ("LC_ALL", "LANG", "LANGUAGE", "TZ")}
    os.environ.update(LC_ALL="C", TZ="UTC")
    yield
    for name in ("LC_ALL", "TZ"):
        del os.environ[name]
    os.environ.update({name: value for name, value in saved.items() if value is not None})


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this host cannot compare with."""
    for mark in item.iter_markers("native"):
        if not runs_natively(mark.args[0] if mark.args else "x86_64"):
            pytest.skip("this host does not run the ABI natively")
    for mark in item.iter_markers("busybox"):
        if busybox(mark.args[0]) is None:
            pytest.skip(f"no busybox-static for {mark.args[0]}: run `make test` with a network")
