"""Request files: every layout of ``formats.toml`` read as it is, every mistake refused with line and field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uarch.errors import InputError
from workloads.requests.reading import read_requests
from workloads.requests.records import Requests
from workloads.requests.source import RequestSource, make_requests
from workloads.requests.writing import csv_lines, write_requests

pytestmark = pytest.mark.once("no kernel")


def read(folder: Path, text: str, name: str = "requests.csv") -> Requests:
    (folder / name).write_text(text)
    return read_requests(folder / name)


def message_of(folder: Path, text: str, name: str = "requests.csv") -> str:
    with pytest.raises(InputError) as caught:
        read(folder, text, name)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    return message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("generic.csv", "arrival_s,input_tokens,output_tokens\n2.5,100,10\n4.0,20,1\n"),
        ("more_columns.csv", "arrival_s,input_tokens,output_tokens,ttft_s\n0,100,10,.3\n1.5,20,1,.2\n"),
        (
            "azure.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,100,10\r\n2023-11-16 18:17:05.4799600,20,1",
        ),
        (
            "azure2024.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.5+00:00,100,10\n2024-05-10 00:00:02,20,1",
        ),
        ("apex.csv", "arrival_ns,input_tokens,output_tokens\n1000000000,100,10\n2500000000,20,1\n"),
        ("mooncake.csv", "arrival_ms,input_tokens,output_tokens,prefix_blocks_512\n0,100,10,7\n1500,20,1,7\n"),
        (
            "mooncake.jsonl",
            '{"timestamp": 0, "input_length": 100, "output_length": 10, "hash_ids": [7]}\n'
            '{"timestamp": 1500, "input_length": 20, "output_length": 1, "hash_ids": [7]}\n',
        ),
        (
            "burstgpt.csv",
            "Timestamp,Model,Request tokens,Response tokens,Total tokens\n5,x,100,10,110\n6.5,x,20,1,21\n",
        ),
    ],
)
def test_every_layout_gives_the_same_two_requests(tmp_path: Path, name: str, text: str) -> None:
    requests = read(tmp_path, text, name)
    np.testing.assert_allclose(requests.arrival_seconds, [0, 1.5])
    assert requests.input_tokens.tolist() == [100, 20]
    assert requests.output_tokens.tolist() == [10, 1]


def test_prefix_blocks_are_compressed_rows(tmp_path: Path) -> None:
    text = "arrival_s,input_tokens,output_tokens,prefix_blocks\n0,1100,5,3 4 5\n1,10,5,\n2,600,5,3 9\n"
    requests = read(tmp_path, text)
    assert [requests.prefix_of(i).tolist() for i in range(3)] == [[3, 4, 5], [], [3, 9]]
    assert requests.prefix_block_tokens == 512
    assert requests.hit_share() == pytest.approx(1 / 5)
    assert [requests.first(2).prefix_of(i).tolist() for i in range(2)] == [[3, 4, 5], []]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arrival_s,input_tokens\n0,1\n", "column 'output_tokens' is missing"),
        ("arrival_s,input_tokens,output_tokens\n", "has no requests"),
        ("", "has no header"),
        (
            "arrival_s,input_tokens,output_tokens\n0,5,5\n1,-3,5\n",
            "line 3: input_tokens = -3: must be a whole number from 1",
        ),
        ("arrival_s,input_tokens,output_tokens\n0,5,0\n", "line 2: output_tokens = 0: must be"),
        ("arrival_s,input_tokens,output_tokens\n0,5,1.5\n", "line 2: output_tokens = 1.5: must be"),
        (
            "arrival_s,input_tokens,output_tokens\n3,5,5\n2,5,5\n",
            "line 3: arrival_s = 2: before that of the request above",
        ),
        ("arrival_s,input_tokens,output_tokens\nsoon,5,5\n", "line 2: arrival_s = 'soon': must be a number"),
        ("arrival_s,input_tokens,output_tokens\nnan,5,5\n", "line 2: arrival_s = nan: must be a number"),
        ("arrival_s,input_tokens,output_tokens\n0,5\n", "line 2 has 2 fields; the header has 3"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,5,5\n", "line 2: TIMESTAMP = 'yesterday': must be a date"),
        (
            "arrival_s,input_tokens,output_tokens,prefix_blocks\n0,512,5,1 2\n",
            "line 2: prefix_blocks: has 2 blocks of 512",
        ),
        (
            "arrival_s,input_tokens,output_tokens,prefix_blocks\n0,512,5,x\n",
            "line 2: prefix_blocks: must be whole numbers",
        ),
        (
            "arrival_s,input_tokens,output_tokens,prefix_blocks\n0,512,5,-4\n",
            "line 2: prefix_blocks = -4: must be at least 0",
        ),
    ],
)
def test_a_malformed_file_is_refused_with_line_and_field(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message_of(tmp_path, text)


def test_a_line_that_is_no_json_is_refused(tmp_path: Path) -> None:
    assert "line 1: not valid JSON" in message_of(tmp_path, "{", "requests.jsonl")
    assert "line 1: must be a JSON object" in message_of(tmp_path, "3", "requests.jsonl")


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    drawn = make_requests(RequestSource(lengths="apex-lmsys", requests_per_second=3.0, count=200), seed=4)
    write_requests(drawn, tmp_path / "a.csv")
    again = read_requests(tmp_path / "a.csv")
    np.testing.assert_array_equal(again.arrival_seconds, drawn.arrival_seconds - drawn.arrival_seconds[0])
    np.testing.assert_array_equal(again.input_tokens, drawn.input_tokens)
    assert len(list(csv_lines(drawn))) == 201
