"""For tests that need clusters: what to do where there can be none."""

from __future__ import annotations

import os

import pytest

from tests.brokers import debian
from tests.brokers.cluster.inside import missing
from tests.brokers.generations import NEWEST


def demand() -> None:
    """Skip a test where there can be no cluster; fail it if there has to be one.

    Nobody but root can make machines, and only the newest servers run on them.
    """
    if debian.CHOSEN is not NEWEST:
        pytest.skip("clusters of three run the newest servers")
    if why := missing():
        if os.environ.get("BROKERS") == "required" and os.geteuid() == 0:
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
