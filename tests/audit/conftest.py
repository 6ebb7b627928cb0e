"""What the tests of the report share."""

import pytest

from reports import synthetic, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path, synthetic())
