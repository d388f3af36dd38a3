"""Find the settings: flags over GOCLAW_ variables over one file over defaults, with origins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from goclaw.config import ENV_DELIMITER, ENV_PREFIX, Settings
from goclaw.config_file import ConfigFault, ConfigFile, read_config_file
from goclaw.errors import ConfigInvalid, ConfigMissing
from goclaw.secrets import VARIABLE_PREFIX
from goclaw_events.faults import Places, Suggester
from goclaw_events.plain_words import plain_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONFIG_VARIABLE: Final = "GOCLAW_CONFIG"
_OTHER_VARIABLES: Final = frozenset({CONFIG_VARIABLE})
_SHOWN_CHARS_MAX: Final = 60

Keys: TypeAlias = tuple[str, ...]


class Loaded(NamedTuple):
    """Settings; the origin of each value by its dotted path; the file that was read, if any.

    An origin is `default`, `file:PATH`, `env:NAME` or `flag`.
    """

    settings: Settings
    origins: dict[str, str]
    file: Path | None


class _Layer(NamedTuple):
    data: dict[str, Any]
    origins: dict[Keys, str]
    faults: list[ConfigFault]


def load_settings(
    config: Path | str | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Return the settings that hold, with their origins.

    `config`: the file to read, which must be there; otherwise GOCLAW_CONFIG names it, otherwise
    the first of `search_paths()` that exists is read. `flags`: values by dotted path (`log.level`);
    None means not given. Raises `ConfigMissing`, or `ConfigInvalid` with every fault at once.
    """
    environ = os.environ if environ is None else environ
    file, content = _read_file(config, environ)
    layers = (
        _file_layer(file, content),
        _env_layer(environ),
        _flag_layer(flags or {}),
    )
    data: dict[str, Any] = {}
    origins: dict[Keys, str] = {}
    faults: list[ConfigFault] = []
    for layer in layers:
        _overlay(data, layer.data)
        origins.update(layer.origins)
        faults += layer.faults
    settings, more = _validated(data, origins, content)
    if faults or settings is None:
        raise _invalid(faults + more)
    paths = _leaves(settings.model_dump(mode="json"))
    shown = {".".join(path): _origin_of(path, origins) for path in paths}
    return Loaded(settings, shown, file)


def search_paths(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return the places where a configuration file is looked for when none is named, in order."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")) / ".config")
    here = [Path("goclaw.yaml"), Path("goclaw.yml"), Path("goclaw.json")]
    return [*here, Path(home) / "goclaw" / "config.yaml", Path("/etc/goclaw/config.yaml")]


def _read_file(
    config: Path | str | None, environ: Mapping[str, str]
) -> tuple[Path | None, ConfigFile]:
    named = config or environ.get(CONFIG_VARIABLE)
    if named:
        path: Path | None = Path(named)
    else:
        path = next((place for place in search_paths(environ) if place.is_file()), None)
    if path is None:
        return None, ConfigFile({}, Places(), [])
    try:
        return path, read_config_file(path)
    except OSError as error:
        asked = "--config" if config else CONFIG_VARIABLE
        message = f"the configuration file {path} cannot be read: {error.strerror or error}"
        hint = f"check the path given with {asked}" if named else f"mend or remove {path}"
        raise ConfigMissing(message, hint=hint, path=str(path)) from error


def _file_layer(path: Path | None, content: ConfigFile) -> _Layer:
    origin = f"file:{path}"
    return _Layer(content.data, dict.fromkeys(_leaves(content.data), origin), content.faults)


def _env_layer(environ: Mapping[str, str]) -> _Layer:
    """Read the variables one at a time, so that each fault and each value has its name."""
    data: dict[str, Any] = {}
    origins: dict[Keys, str] = {}
    faults: list[ConfigFault] = []
    source = EnvSettingsSource(Settings)
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX) or name.upper() in _OTHER_VARIABLES:
            continue
        if name.startswith(VARIABLE_PREFIX):
            continue  # a secret is no setting, and is never shown
        if not environ[name]:
            continue  # set to nothing: not given (an empty path would be the current directory)
        source.env_vars = {name.lower(): environ[name]}
        try:
            found = source()
        except (SettingsError, ValueError):
            fault = ConfigFault("", "not JSON, which a value of several parts needs", f"env:{name}")
            faults.append(fault)
            continue
        if not found:
            hint = _suggest(name.upper(), [*_variables(), *_OTHER_VARIABLES])
            faults.append(ConfigFault("", "unknown variable", f"env:{name}", hint=hint))
            continue
        _overlay(data, found)
        origins.update(dict.fromkeys(_leaves(found), f"env:{name}"))
    return _Layer(data, origins, faults)


def _flag_layer(flags: Mapping[str, Any]) -> _Layer:
    data: dict[str, Any] = {}
    for dotted, value in flags.items():
        if value is None:
            continue
        *parents, last = dotted.split(".")
        place = data
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = value
    return _Layer(data, dict.fromkeys(_leaves(data), "flag"), [])


def _validated(
    data: dict[str, Any], origins: dict[Keys, str], content: ConfigFile
) -> tuple[Settings | None, list[ConfigFault]]:
    try:
        return Settings(**data), []
    except ValidationError as error:
        faults = []
        for item in error.errors(include_url=False):
            path = tuple(str(part) for part in item["loc"] if part != "[key]")
            origin = _origin_of(path, origins)
            from_file = origin.startswith("file:")
            line, column = content.places.find(path, at_key=True) if from_file else (0, 0)
            message, hint = _said(item["type"], item["msg"], item["input"], path)
            where = origin.removeprefix("file:")
            faults.append(ConfigFault(".".join(path), message, where, line, column, hint))
        return None, faults


def _said(kind: str, message: str, value: object, path: Keys) -> tuple[str, str]:
    if kind == "extra_forbidden":
        return "unknown key", _suggest(path[-1], _keys_at(path[:-1]))
    message = plain_message(message)
    if isinstance(value, (str, int, float)):
        message = f"{message}, not {str(value)[:_SHOWN_CHARS_MAX]!r}"
    return message[:1].lower() + message[1:], ""


def _invalid(faults: list[ConfigFault]) -> ConfigInvalid:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    lines = "".join(f"\n  {fault}" for fault in faults)
    return ConfigInvalid(
        f"the configuration has {count}:{lines}",
        hint="`goclaw config schema` lists every key; `goclaw config show --origin` what holds",
        faults=[fault._asdict() for fault in faults],
    )


def _overlay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict):
            under = below.get(key)
            below[key] = dict(under) if isinstance(under, dict) else {}
            _overlay(below[key], value)
        else:
            below[key] = value


def _leaves(data: Mapping[str, Any], path: Keys = ()) -> Iterator[Keys]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


def _origin_of(path: Keys, origins: Mapping[Keys, str]) -> str:
    """Return where the value at `path` came from: itself, a part of it, or what it is a part of."""
    for leaf, origin in origins.items():
        if leaf[: len(path)] == path:
            return origin
    while path and path not in origins:
        path = path[:-1]
    return origins.get(path, "default")


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation holds: itself, or the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section(part))), None)


def _keys_at(path: Keys) -> list[str]:
    """Return the keys that may stand below `path`."""
    model: type[BaseModel] = Settings
    for key in path:
        field = model.model_fields.get(key)
        if field is not None:
            model = _section(field.annotation) or model
    return list(model.model_fields)


def _variables(model: type[BaseModel] = Settings, prefix: str = ENV_PREFIX) -> Iterator[str]:
    """Yield the names of the variables that settings can come from (lanes: without their ids)."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        yield prefix + name.upper()
        if section is not None and not get_args(field.annotation):
            yield from _variables(section, prefix + name.upper() + ENV_DELIMITER)


def _suggest(wrong: str, known: list[str]) -> str:
    near = Suggester().nearest(wrong, known)
    return f"did you mean {near}?" if near else ""
