"""Tables as Parquet, in an environment with pyarrow. The kit's own has none, as it would change the strings of pandas everywhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.consumers import environment

SCRIPT = """
import io

import numpy as np
import pandas as pd

from jobqueue.dash.downloads.formats import formats_of
from jobqueue.dash.downloads.tables import Unfit

index = pd.MultiIndex.from_tuples([("north", 1), ("south", 2)], names=["region", None])
frame = pd.DataFrame(
    {
        "at": pd.date_range("2024-03-31", periods=2, freq="3h", tz="Europe/Paris"),
        "net": [0.1 + 0.2, np.nan],
        "n": pd.array([2**60, None], dtype="Int64"),
        "text": ["=1+1", None],
        "kind": pd.Categorical(["a", "b"]),
        "month": pd.period_range("2024-01", periods=2, freq="M"),
    },
    index=index,
)
levels = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("sales", "net"), ("sales", "n")]))


def write(table):
    (parquet,) = (kind for kind in formats_of(table) if kind.ending == "parquet")
    file = io.BytesIO()
    parquet.write(table, file, "")
    return pd.read_parquet(io.BytesIO(file.getvalue()))


pd.testing.assert_frame_equal(write(frame), frame)
pd.testing.assert_frame_equal(write(levels), levels)
pd.testing.assert_frame_equal(write(pd.Series([1.5], index=["a"], name="s")), pd.DataFrame({"s": [1.5]}, index=["a"]))
for unfit in (pd.DataFrame({"mixed": [1, "x"]}), pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame({"c": [1j]})):
    try:
        write(unfit)
    except Unfit as error:
        print(error)
"""


@pytest.mark.long
def test_a_table_comes_back_from_parquet_or_is_refused_in_a_sentence(tmp_path: Path) -> None:
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*install, "--target", str(tmp_path), "pyarrow>=21"], check=True)
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    said = subprocess.check_output(command, env=environment(tmp_path), text=True).splitlines()
    assert len(said) == 3
    assert all(line.startswith("Parquet cannot hold this table. ") for line in said)
    assert all(line.endswith(" Choose CSV or Excel.") for line in said) and "column mixed" in said[0]
