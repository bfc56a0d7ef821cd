"""What Home Assistant is told of a door: one discovery message for the whole device, and how its values read. Pure.

Home Assistant's documentation: MQTT, device discovery payload. Measured with 2025.4 and 2026.11: `changed_by` of a lock
cannot be set over MQTT, so an event entity says who; a command goes out at QoS 0 and has no expiry, so it carries the
time of its issue and a nonce, and the door looks at both.
"""

from __future__ import annotations

from typing import Any

from device.desk.wire import FACE_OFF, FACE_ON, LOCK, OPEN, PERSON_OFF, PERSON_ON, Packet
from device.link.topics import COMMAND, EVENT, ONLINE, STATE, topic

Component = dict[str, Any]
ONLINE_TEXT, OFFLINE_TEXT = "online", "offline"
EVENT_TYPES = ("granted", "refused", "forced", "held_open")
# Home Assistant's sandbox refuses ranges above 100,000; four draws are 20 digits.
NONCE = "{{ '%05d%05d%05d%05d' % (" + ", ".join(["range(100000)|random"] * 4) + ") }}"
CODE_FORMAT = "^[0-9]{4,12}$"


def discovery_topic(door: str) -> str:
    return f"homeassistant/device/{door}/config"


def discovery(hello: Packet) -> dict[str, Any]:
    """Return the discovery message of a door that said `hello`."""
    door, version = str(hello["door"]), str(hello.get("version", ""))
    components = dict(_components(door, hello))
    available = {"topic": topic(door, ONLINE)}
    for key, component in components.items():
        component["unique_id"] = f"face_unlock_{door}_{key}"
        component["default_entity_id"] = f"{component['platform']}.{_slug(door)}_{key}"
        if key != "connectivity":  # which says just that
            component["availability"] = [available]
    return {
        "device": {
            "identifiers": [f"face_unlock_{door}"],
            "name": door,
            "manufacturer": "face-unlock",
            "sw_version": version,
        },
        "origin": {"name": "face-unlock", "sw_version": version},
        "components": components,
        "qos": 1,
    }


def _components(door: str, hello: Packet) -> list[tuple[str, Component]]:
    found = [
        ("lock", _lock(door)),
        ("event", _event(door)),
        ("contact", _sensor(door, "Door", "contact", device_class="door")),
        ("tamper", _sensor(door, "Tamper", "tamper", device_class="tamper")),
        ("problem", _sensor(door, "Problem", "problem", device_class="problem")),
        ("self_test", _diagnosis(_sensor(door, "Self-test passed", "self_test"))),
        ("in_sync", _diagnosis(_sensor(door, "In sync with the keeper", "in_sync"))),
        ("connectivity", _connectivity(door)),
    ]
    if hello.get("switches") is True:
        found.append(("face", _switch(door, "Faces", "value_json.face", FACE_OFF, FACE_ON)))
        people = hello.get("people")
        for alias, name in people.items() if isinstance(people, dict) else ():
            value = f"'OFF' if '{_slug(alias)}' in value_json.off else 'ON'"
            switch = _switch(door, f"Face of {name}", value, PERSON_OFF, PERSON_ON, _slug(alias))
            found.append((f"face_{_slug(alias)}", switch))
    return found


def _lock(door: str) -> Component:
    return {
        "platform": "lock",
        "name": None,  # the device's
        "state_topic": topic(door, STATE),
        "value_template": "{{ value_json.lock }}",
        "command_topic": topic(door, COMMAND),
        "command_template": _command(door, do="{{ value }}", code="{{ code }}"),
        "payload_lock": LOCK,
        "payload_unlock": OPEN,
        "code_format": CODE_FORMAT,
        "optimistic": False,
        "retain": False,
        "qos": 0,
    }


def _event(door: str) -> Component:
    return {
        "platform": "event",
        "name": "Visit",
        "state_topic": topic(door, EVENT),
        "event_types": list(EVENT_TYPES),
        "icon": "mdi:face-recognition",
    }


def _sensor(door: str, name: str, key: str, **more: str) -> Component:
    return {
        "platform": "binary_sensor",
        "name": name,
        "state_topic": topic(door, STATE),
        "value_template": f"{{{{ value_json.{key} }}}}",
        **more,
    }


def _diagnosis(component: Component) -> Component:
    return {**component, "entity_category": "diagnostic"}


def _connectivity(door: str) -> Component:
    return _diagnosis(
        {
            "platform": "binary_sensor",
            "name": "Connectivity",
            "device_class": "connectivity",
            "state_topic": topic(door, ONLINE),
            "payload_on": ONLINE_TEXT,
            "payload_off": OFFLINE_TEXT,
        }
    )


def _switch(door: str, name: str, value: str, off: str, on: str, subject: str = "") -> Component:
    return {
        "platform": "switch",
        "name": name,
        "icon": "mdi:face-recognition",
        "state_topic": topic(door, STATE),
        "value_template": f"{{{{ {value} }}}}",
        "command_topic": topic(door, COMMAND),
        "command_template": _command(door, do="{{ value }}", subject=subject),
        "payload_off": off,
        "payload_on": on,
        "state_off": "OFF",
        "state_on": "ON",
        "optimistic": False,
        "retain": False,
        "qos": 0,
    }


def _command(door: str, **fields: str) -> str:
    """Return the template of a command: its time is a number, all else is text."""
    texts = {**fields, "door": door, "nonce": NONCE}
    listed = ", ".join(f'"{key}": "{text}"' for key, text in texts.items())
    return f'{{{listed}, "at": {{{{ now().timestamp() }}}}}}'


def lock_state(state: Packet) -> str:
    """Return one of Home Assistant's states of a lock; what cannot be confirmed is jammed."""
    locked, door = state.get("locked"), state.get("door")
    if locked is None or door == "jammed":
        return "JAMMED"
    if door in ("open", "held_open", "forced"):
        return "OPEN"
    if locked is True:  # driven, but the bolt's own contact has not said so yet
        return "LOCKING" if door == "unlocked" else "LOCKED"
    return "UNLOCKING" if door == "unlocking" else "UNLOCKED"


def state_message(state: Packet, in_sync: bool | None) -> dict[str, Any]:
    """Return the state of a door as Home Assistant reads it; `in_sync` None: there is no keeper."""
    alarms = state.get("alarms")
    alarms = alarms if isinstance(alarms, list) else []
    door = state.get("door")
    is_open = door in ("open", "held_open", "forced")
    return {
        "lock": lock_state(state),
        "contact": "None" if door == "unknown" else _on(is_open),
        "tamper": _on("tamper" in alarms),
        "problem": _on(bool(set(map(str, alarms)) - {"tamper"}) or state.get("locked") is None),
        "self_test": _on(state.get("proven") is True),
        "in_sync": "None" if in_sync is None else _on(in_sync),
        "face": _on(state.get("face") is not False),
        "off": [_slug(str(alias)) for alias in state.get("off") or ()],
    }


def event_message(event: Packet) -> dict[str, Any] | None:
    """Return a visit or an alarm as Home Assistant reads it, None where it is none of its event types."""
    kind, reason = event.get("event"), event.get("reason")
    if kind in ("granted", "outside_opened"):
        return {"event_type": "granted", "person": event.get("subject_id"), "method": event.get("method")}
    if kind in ("refused", "outside_refused"):
        method = "outside" if kind == "outside_refused" else "face"
        return {"event_type": "refused", "reason": reason, "method": method, "count": event.get("count", 1)}
    if kind == "alarm" and reason in EVENT_TYPES:
        return {"event_type": reason}
    return None


def _on(value: bool) -> str:
    return "ON" if value else "OFF"


def _slug(text: str) -> str:
    """Return text that may stand in a template and in an entity's id."""
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in text)
