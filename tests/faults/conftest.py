"""What the fault tests share."""

import pytest

# Before it is imported: its assertions are to say what they compared.
pytest.register_assert_rewrite("tests.faults.books")
