"""Field profiles: what scanners of a field strength are like; data files that say where numbers are from."""

import json
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from edge_pigment.simulate.protocol import Noise, Protocol

_FOLDER = "profiles"


class Value(BaseModel):
    """A number and where it is from.

    basis: 'source' (read in the source named), 'recalled' (known to be in the source named, not read again
    for this file), or 'guess' (an engineer's estimate; source may say from what).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Any
    unit: str
    basis: Literal["source", "recalled", "guess"]
    source: str = ""


class Profile(BaseModel):
    """One field strength: a protocol and noise to simulate, and the values that they were derived from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    protocol: Protocol
    noise: Noise
    values: dict[str, Value]


def profile_names() -> list[str]:
    """Names that `read_profile` takes, lowest field first."""
    folder = resources.files(__package__) / _FOLDER
    names = [item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json")]
    return sorted(names, key=_tesla)


def read_profile(name: str) -> Profile:
    """A profile by name, such as 64mT.

    Raises:
        KeyError: there is none of this name.
    """
    if name not in profile_names():
        raise KeyError(name)
    text = (resources.files(__package__) / _FOLDER / f"{name}.json").read_text("utf-8")
    return Profile.model_validate(json.loads(text))


def _tesla(name: str) -> float:
    return float(name[:-2]) / 1000 if name.endswith("mT") else float(name[:-1])
