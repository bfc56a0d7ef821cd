"""Packets between door and link: whatever comes, it is a request or none."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.desk.wire import (
    DEEDS,
    LONGEST_COMMAND,
    Request,
    pack,
    read_packet,
    read_request,
    unpack,
    write_packet,
)

fuzz = settings(deadline=None, suppress_health_check=list(HealthCheck))  # a busy machine draws slowly
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=10,
)


@fuzz
@given(st.binary())
def test_bytes_are_an_object_or_none(data: bytes) -> None:
    packet = read_packet(data)
    assert packet is None or isinstance(packet, dict)


@fuzz
@given(st.dictionaries(st.sampled_from(["do", "door", "at", "nonce", "code", "subject"]), anything))
def test_any_values_are_a_request_or_none(values: dict[str, object]) -> None:
    request = read_request(json.dumps(values))
    assert request is None or (request.do in DEEDS and math.isfinite(request.at_s))


@fuzz
@given(st.text() | anything)
def test_any_text_is_a_request_or_none(text: object) -> None:
    request = read_request(text)
    assert request is None or isinstance(request, Request)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"at": NaN}', '{"at": 1e999}', "\ud800"])
def test_what_breaks_parsers_is_none(text: str) -> None:
    assert read_request(text) is None
    assert read_request(json.dumps({"do": "open", "nonce": "12345678", "door": "a", "at": math.inf})) is None


def test_a_code_is_not_shown() -> None:
    known = {"do": "open", "door": "a", "at": 1.0, "nonce": "12345678", "code": "2580"}
    request = read_request(json.dumps(known))
    assert request is not None
    assert "2580" not in repr(request)


def test_a_command_that_is_too_long_is_none() -> None:
    known = {"do": "open", "door": "a", "at": 1.0, "nonce": "12345678", "code": "1" * LONGEST_COMMAND}
    assert read_request(json.dumps(known)) is None


@fuzz
@given(st.binary())
def test_a_body_comes_through(body: bytes) -> None:
    assert unpack(read_packet(write_packet({"body": pack(body)}))["body"]) == body


@pytest.mark.parametrize("text", [None, 1, "ä", "a", "a b="])
def test_what_is_no_base64_is_no_body(text: object) -> None:
    assert unpack(text) is None
