# SPDX-License-Identifier: GPL-2.0-only
"""The manual pages, from the command line itself: manual.py DIRECTORY writes them there.

lpttrace.1, a page for each command, and lpttrace.toml.5; their date is SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from lpttrace import __version__
from lpttrace.cli_app import app
from lpttrace.cli_config import PARAMETERS, SHARED
from lpttrace.config import CONFIG_FILE, KEYS

# A paragraph that click, and so we, leave as it is written.
VERBATIM = "\b"
FILE_PAGE = "lpttrace.toml(5)"
EXAMPLE = """max-vcpus = 2048
per-vcpu = false
not-vm = ["test-*", "ci-*"]"""

Record = tuple[str, str]


def escaped(text: str) -> str:
    """Text that roff shows as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return re.sub(r"^\.", r"\\&.", text, flags=re.M)


def paragraphs(text: str) -> Iterator[str]:
    """roff of the help's paragraphs; their headings ("Examples:") become sections."""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.strip("\n").split("\n")
        if lines[0].strip() != VERBATIM:
            yield f".PP\n{escaped(' '.join(' '.join(lines).split()))}"
            continue
        if lines[1].endswith(":"):
            yield f".SH {lines[1].rstrip(':').upper()}"
            del lines[1]
        yield "\n".join([".EX", *(escaped(line.strip()) for line in lines[1:]), ".EE"])


def records(command: Any, context: Any) -> list[Record]:
    """Every option and argument with its help."""
    every = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    return [record for record in every if record]


def items(pairs: Iterable[Record]) -> Iterator[str]:
    """A list of terms and what they are."""
    for term, meaning in pairs:
        yield f".TP\n.B {escaped(' '.join(term.split()))}\n{escaped(' '.join(meaning.split()))}"


def page(name: str, section: int, summary: str, body: Iterable[str]) -> str:
    """A whole page; summary is what whatis(1) shows."""
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    # No hyphenation: what is said is to be found, and copied, as it is.
    head = f'.TH {name.upper()} {section} {date} "lpttrace {__version__}"\n.nh'
    about = summary.split("\n")[0].rstrip(".")
    text = "\n".join([head, ".SH NAME", f"{escaped(name)} \\- {escaped(about)}", *body, ""])
    return re.sub(r"^(\.SH .*\n)\.PP\n", r"\1", text, flags=re.M)


def see_also(*others: str) -> str:
    """References to other pages, each NAME(SECTION)."""
    found = [re.fullmatch(r"(.*)\((\d)\)", other) for other in sorted(others)]
    return ".SH SEE ALSO\n" + ",\n".join(f".BR {escaped(m[1])} ({m[2]})" for m in found if m)


def command_page(command: Any, context: Any, others: Iterable[str], extra: Iterable[str]) -> str:
    """The page of lpttrace itself, or of one of its commands."""
    name = context.command_path.replace(" ", "-")
    summary, _, rest = (command.help or "").partition("\n")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    body = [".SH SYNOPSIS", f".B {escaped(usage)}"]
    body += [".SH DESCRIPTION", escaped(summary), *paragraphs(rest)] if rest else []
    body += [*extra, ".SH OPTIONS", *items(records(command, context))]
    epilog = list(paragraphs(command.epilog or ""))
    if epilog and not epilog[0].startswith(".SH"):
        body.append(".SH NOTES")
    return page(name, 1, summary, [*body, *epilog, see_also(*others)])


def configuration_page(serve: Any, context: Any) -> str:
    """lpttrace.toml(5): its keys are the long options of serve."""
    body = [
        f".SH SYNOPSIS\n.B {escaped(str(CONFIG_FILE))}",
        ".SH DESCRIPTION\nTOML. Each key is a long option of",
        ".BR lpttrace\\-serve (1),\nwithout the dashes; the command line goes before the file.",
        f"The other commands take {escaped(', '.join(SHARED))} from it, too.",
        ".SH KEYS",
        *items(settings(serve, context)),
        f".SH EXAMPLE\n.EX\n{escaped(EXAMPLE)}\n.EE",
        see_also("lpttrace-serve(1)"),
    ]
    return page("lpttrace.toml", 5, "how lpttrace serves", body)


def settings(serve: Any, context: Any) -> list[Record]:
    """The keys of the configuration file, and what they are."""
    helps = {p.name: p.get_help_record(context)[1] for p in serve.params if p.name != "help"}
    return [
        (
            name,
            f"{helps[PARAMETERS[name]]} The value is {key.wanted}."
            + (" SIGHUP has it take effect." if key.reloads else ""),
        )
        for name, key in KEYS.items()
    ]


def command_line() -> tuple[Any, Any]:
    """The command lpttrace, and a context of it."""
    root: Any = typer.main.get_command(app)
    return root, root.make_context("lpttrace", ["metrics"])


def pages() -> Iterator[tuple[str, str]]:
    """Names of files, and their text."""
    root, context = command_line()
    names = [f"lpttrace-{name}(1)" for name in root.commands]
    commands = [
        (f"lpttrace-{name}", command.get_short_help_str(80))
        for name, command in root.commands.items()
    ]
    listed = [".SH COMMANDS", *items(commands)]
    yield "lpttrace.1", command_page(root, context, [*names, FILE_PAGE], listed)
    for name, command in root.commands.items():
        of_command = type(context)(command, info_name=name, parent=context)
        reads_file = any("--pin-dir" in parameter.opts for parameter in command.params)
        others = ["lpttrace(1)", *([FILE_PAGE] if reads_file else [])]
        yield f"lpttrace-{name}.1", command_page(command, of_command, others, [])
        if name == "serve":
            yield "lpttrace.toml.5", configuration_page(command, of_command)


def main(directory: str) -> None:
    """Write every page."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (Path(directory) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
