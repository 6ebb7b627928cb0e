"""What the tests of the data sets share."""

import pytest


@pytest.fixture
def no_data_folder(monkeypatch):
    monkeypatch.delenv("HOPLON_DATA", raising=False)
