"""The reference pages, made from the code: settings, config.yml, errors, metrics, command line.

`python -m cargohold.cli.reference docs/reference` writes them (`make fmt` does); a test fails when one of them is stale.
Each page is a function that returns its text, from the one place that knows: describe.py, registry_keys.py, errors.py, metrics.py,
the click tree.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from cargohold.cli.groups import cargohold
from cargohold.config.describe import Setting, every_setting
from cargohold.config.own import FLAGS
from cargohold.config.registry_keys import FIELD_NAMES, KEYS, Does, Key
from cargohold.errors import CargoholdError
from cargohold.telemetry.metrics import CATALOGUE

_MADE = "<!-- Made by `make fmt` from the source; do not edit. -->"


def settings_page() -> str:
    lines = [
        "# Settings",
        _MADE,
        "",
        "A value comes from, the later the stronger: the default, the file, the environment, a flag. In a config.yml our own",
        "settings stand below a top-level `cargohold:` key by the paths of this page; [config-yml.md](config-yml.md) tells which keys",
        "of `registry:2` set them too. `cargohold config show` prints what is in force and who said so.",
        "",
        "A duration is a number of seconds or `90s`, `10m`, `1h30m`; a size is a number of bytes or `16MiB`. In a variable, lists and maps",
        'are written as YAML: `["a", "b"]`.',
    ]
    section = ""
    for path, setting in every_setting().items():
        if path.rpartition(".")[0] != section or not section:
            section = path.rpartition(".")[0]
            lines += ["", f"## {section or 'The process'}"]
        lines += ["", *_setting(path, setting)]
    return _page(lines)


def _setting(path: str, setting: Setting) -> Iterator[str]:
    yield f"### `{path}`"
    yield ""
    yield setting.text
    yield ""
    yield f"- {setting.type_name}, default {_default(setting)}{_range(setting)}"
    yield f"- variable `{setting.variable}`"
    keys = [key.path for key in KEYS.values() if key.setting == path and key.does is Does.HONOURED and key.path != "loglevel"]
    if keys:
        yield "- `registry:2`: " + ", ".join(f"`{key}`" for key in keys)
    flags = [flag for flag, paths in FLAGS.items() if path in paths]
    if flags:
        yield "- flag " + ", ".join(f"`{flag}`" for flag in flags)
    if setting.secret:
        yield "- secret: never printed" + (" with its password" if setting.url else "")


def _default(setting: Setting) -> str:
    value = setting.default
    if value in ("", [], {}):
        return "empty"
    if setting.unit == "seconds":
        return f"`{value:g}s`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return "`" + ", ".join(f"{name}: {', '.join(values)}" for name, values in value.items()) + "`"
    return f"`{value}`"


def _range(setting: Setting) -> str:
    if setting.high is not None:
        return f", {setting.low or 0:.0f} to {setting.high:.0f}"
    return f", at least {setting.low:g}" if setting.low else ""


def config_yml_page() -> str:
    lines = [
        "# config.yml of registry:2",
        _MADE,
        "",
        "`cargohold registry serve config.yml` reads the file of `registry:2` 2.8 and of 3.x. Every key it knows stands here with what",
        "becomes of it; a key that is not here is an error that names the nearest one. What is accepted without effect is named once in",
        "the log; what is refused stops the start, because passing it over would do something else than what was asked for.",
        "",
        "`REGISTRY_*` variables change the file by the same rule as there: the parts of the name walk the keys in capitals, the value is",
        "YAML, `REGISTRY_AUTH=htpasswd` opens a section that the file lacks, and a list is given whole or by number",
        "(`REGISTRY_HTTP_TLS_CLIENTCAS_0`). A variable that names no key is named in the log and changes nothing. Where a name differs",
        "from the key in capitals, both work: " + ", ".join(f"`{_variable(path, name)}`" for path, name in FIELD_NAMES.items()) + ".",
        "",
        "A file without `storage.delete`, `storage.redirect` or `log.accesslog` gets what `registry:2` does: no deleting, s3 redirects,",
        "an access log. Without any file the defaults of [settings.md](settings.md) hold.",
        "",
        "| key | type | what we do | setting |",
        "|---|---|---|---|",
    ]
    return _page(lines + [_key(key) for key in KEYS.values()])


def _variable(path: str, field: str) -> str:
    return f"REGISTRY_{path.upper().replace('.', '_').rpartition('_')[0]}_{field}"


def _key(key: Key) -> str:
    does = f"{key.does}: {key.text}".removesuffix(": ")
    if key.does is Does.HONOURED:
        does = key.text or (every_setting()[key.setting].text if key.setting else "")
    setting = f"[`{key.setting}`](settings.md#{key.setting.replace('.', '')})" if key.setting else ""
    kind = "section" if key.path in ("storage", "auth") else key.kind
    return f"| `{key.path}` | {kind} | {_words(does) or 'honoured'} | {setting} |"


def errors_page() -> str:
    lines = [
        "# Errors",
        _MADE,
        "",
        'A refusal is answered in the OCI form, `{"errors": [{"code": ..., "message": ..., "detail": ...}]}`. 500 is only ever a bug or',
        "broken storage. `message` is the text below or a closer one; `detail` names the field, the digest or the offset at fault.",
        "",
        "| error | status | code | meaning |",
        "|---|---|---|---|",
    ]
    return _page(
        lines + [f"| {kind.__name__} | {kind.status} | `{kind.code}` | {_words(kind.__doc__)} |" for kind in _tree(CargoholdError)]
    )


def _tree(kind: type[CargoholdError]) -> Iterator[type[CargoholdError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == CargoholdError.__module__:
            yield from _tree(child)


def metrics_page() -> str:
    lines = [
        "# Metrics",
        _MADE,
        "",
        "With `admin.addr` set, `/metrics` on that address has these, in Prometheus' text form, summed over all workers. A counter's name",
        "ends in `_total` there; a histogram has `_bucket`, `_sum` and `_count`. Times are seconds, sizes are bytes.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, metric in sorted(CATALOGUE.items()):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {metric.kind} | {labels} | {_words(metric.help)} |")
    return _page(lines)


def cli_page() -> str:
    lines = [
        "# Command line",
        _MADE,
        "",
        "Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 failure, 2 wrong usage, wrong configuration",
        "or a start that was refused.",
    ]
    for words, command in commands():
        context = click.Context(command, info_name=" ".join(words), terminal_width=100, help_option_names=["-h", "--help"])
        lines += ["", f"## {' '.join(words)}", "", "```text", command.get_help(context), "```"]
    return _page(lines)


def commands(
    command: click.Command = cargohold, words: tuple[str, ...] = ("cargohold",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups before what is in them."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, f"{name} is listed, so it is there"
            yield from commands(inner, (*words, name))


def _words(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _page(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "config-yml.md": config_yml_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
