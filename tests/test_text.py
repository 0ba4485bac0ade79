"""Text for people: sizes."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esmkit import errors
from esmkit.cli import ray as ray_options
from esmkit.errors import OptionError
from esmkit.sequences.given import one_or_many
from esmkit.text import parse_bytes


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        (("4M", "4MB", "4 mb", "4m", "4e6", "4000000", "4000000B", "4_000K"), 4_000_000),
        (("4MiB", "4mib", " 4 MIB ", "4096KiB"), 4_194_304),
        (("1K", "1kB", "1000"), 1_000),
        (("1KiB", "1024"), 1_024),
        (("2G", "2GB", "2000M"), 2 * 10**9),
        (("2GiB",), 2**31),
        (("1.5T", "1.5TB"), 15 * 10**11),
        (("0.5TiB",), 2**39),
        (("0", "0.9"), 0),
    ],
)
def test_decimal_and_binary_sizes(texts: tuple[str, ...], count: int):
    assert {text: parse_bytes(text) for text in texts} == dict.fromkeys(texts, count)


@pytest.mark.parametrize(
    "text", ["", "M", "MiB", "4Mi", "4iB", "4Q", "4BM", "4MM", "-1", "nan", "inf", "1e999", "4 M B"]
)
def test_what_is_no_size(text: str):
    with pytest.raises(OptionError) as error:
        parse_bytes(text)
    assert str(error.value) == (
        f"a size is a number of bytes such as 500M or 10G, not {text!r}; M is 10^6, and MiB 2^20"
    )


@given(st.integers(0, 10**15))
def test_a_number_of_bytes_is_itself(count: int):
    assert parse_bytes(str(count)) == count


@pytest.mark.parametrize("text", ["64K", "4M", "4MiB", "1G", "123"])
def test_the_ray_engine_reads_sizes_as_all_commands_do(text: str):
    """``4M`` was binary there, and decimal everywhere else."""
    option = next(
        p for p in ray_options.ray_options(click.Command("embed")).params if p.name == "range_size"
    )
    assert option.process_value(click.Context(click.Command("embed")), text) == parse_bytes(text)


def test_a_warning_points_to_the_caller_of_esmkit():
    with pytest.warns(UserWarning, match="is of one letter") as caught:
        list(one_or_many(list("MKT"))[1])
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n.endswith("Error")])
def test_an_error_is_on_one_line_whatever_a_library_said(name: str):
    error = getattr(errors, name)("cannot read 'a' (Thrift:\n  invalid data\r\n); make it anew")
    assert str(error) == "cannot read 'a' (Thrift: invalid data ); make it anew"
    assert error.reason == "cannot read 'a' (Thrift: invalid data )"
