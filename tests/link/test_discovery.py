"""What Home Assistant reads of a door, and that the commands of its templates are ones that a door takes."""

from __future__ import annotations

import json
import random
from datetime import datetime, timezone

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from device.desk.wire import OPEN, PERSON_OFF, read_request
from device.link.discovery import discovery, event_message, lock_state, state_message

HELLO = {
    "door": "front-1", "version": "1", "opens": True, "switches": True, "people": {"ab12": "O'Brien {{ 1 }}"},
}  # fmt: skip


def render(template: str, **values: object) -> str:
    """Render as Home Assistant does: in a sandbox, with its `now` and its `random` filter."""
    environment = ImmutableSandboxedEnvironment()
    environment.filters["random"] = random.choice
    environment.globals["now"] = lambda: datetime.now(timezone.utc)
    return environment.from_string(template).render(**values)


def test_a_command_of_home_assistant_is_one_that_the_door_takes() -> None:
    lock = discovery(HELLO)["components"]["lock"]
    template = lock["command_template"]
    requests = [read_request(render(template, value=lock["payload_unlock"], code="2580")) for _ in range(50)]
    for request in requests:
        assert request is not None
        assert (request.do, request.door, request.code) == (OPEN, "front-1", "2580")
        assert abs(request.at_s - datetime.now(timezone.utc).timestamp()) < 60
    assert len({request.nonce for request in requests if request}) == 50


def test_a_switch_of_a_person_names_the_alias_and_reads_its_own_state() -> None:
    switch = discovery(HELLO)["components"]["face_ab12"]
    request = read_request(render(switch["command_template"], value=switch["payload_off"]))
    assert request is not None
    assert (request.do, request.subject) == (PERSON_OFF, "ab12")
    for off, text in (([], "ON"), (["ab12"], "OFF")):
        assert render(switch["value_template"], value_json={"off": off}) == text


def test_a_code_that_breaks_the_template_is_no_command() -> None:
    template = discovery(HELLO)["components"]["lock"]["command_template"]
    assert read_request(render(template, value=OPEN, code='"}{"')) is None


def test_every_value_template_reads_the_state() -> None:
    message = state_message({"locked": True, "door": "locked", "alarms": [], "proven": True}, in_sync=False)
    for component in discovery(HELLO)["components"].values():
        if "value_template" in component:
            assert render(component["value_template"], value_json=json.loads(json.dumps(message)))


@pytest.mark.parametrize(
    ("locked", "door", "state"),
    [
        (True, "locked", "LOCKED"), (True, "unknown", "LOCKED"), (True, "unlocked", "LOCKING"),
        (False, "unlocking", "UNLOCKING"), (False, "unlocked", "UNLOCKED"), (False, "unknown", "UNLOCKED"),
        (False, "open", "OPEN"), (True, "forced", "OPEN"), (True, "held_open", "OPEN"),
        (None, "locked", "JAMMED"), (True, "jammed", "JAMMED"), (False, "jammed", "JAMMED"),
    ],
)  # fmt: skip
def test_every_state_of_the_lock_is_told(locked: bool | None, door: str, state: str) -> None:
    assert lock_state({"locked": locked, "door": door}) == state


@pytest.mark.parametrize("alarm", ["forced", "held_open"])
def test_an_alarm_of_the_leaf_is_an_event(alarm: str) -> None:
    assert event_message({"event": "alarm", "reason": alarm}) == {"event_type": alarm}


def test_tamper_and_problem_are_told_apart() -> None:
    state = {"locked": True, "door": "locked"}
    told = state_message({**state, "alarms": ["tamper"]}, None)
    assert (told["tamper"], told["problem"]) == ("ON", "OFF")
    told = state_message({**state, "alarms": ["too_often"]}, None)
    assert (told["tamper"], told["problem"]) == ("OFF", "ON")
