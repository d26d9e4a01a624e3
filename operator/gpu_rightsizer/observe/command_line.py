"""The command line a container runs: command and args, variables expanded, shell strings taken apart."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpu_rightsizer.observe import manifests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_rightsizer.observe.manifests import Raw

MOST_CHARACTERS: Final = 131_072  # of one argument, as Linux has it (MAX_ARG_STRLEN)
MOST_SCRIPT: Final = 16_384  # characters of a shell script that is read
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh"})
_KUBERNETES: Final = re.compile(r"\$(\$|\(([A-Za-z_.][\w.-]*)\))")
_SHELL: Final = re.compile(r"\$(?:\{(?P<braced>\w+)(?::?-(?P<fallback>[^}$]{0,256}))?\}|(?P<plain>[A-Za-z_]\w*))")
_SEPARATORS: Final = frozenset({";", "&&", "||", "|", "&", "(", ")", ";;"})
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_PREFIXES: Final = frozenset({"exec", "env", "nohup", "time", "tini", "--", "numactl", "dumb-init"})


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What runs: `words` of the command that serves, whether a shell starts it, and the environment as far as known.

    `has_command` tells whether the manifest names the program; otherwise the image's entry point gets the words.
    `unread` are texts that could not be taken apart or variables whose value lies in a Secret or ConfigMap.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    has_command: bool
    in_shell: bool = False
    unread: tuple[str, ...] = ()


def read_command_line(container: Raw) -> CommandLine:
    """The command line of a container as the kubelet would build it."""
    environment = _environment(container)
    command = [_expanded(word, environment) for word in manifests.strings(container, "command")]
    words = command + [_expanded(word, environment) for word in manifests.strings(container, "args")]
    script = _script(words)
    if script is None:
        return CommandLine(tuple(words), environment, bool(command), unread=_unresolved(words))
    return _from_shell(script, environment)


def _environment(container: Raw) -> dict[str, str]:
    """Literal values; a later one may use an earlier one, as `$(NAME)`."""
    known: dict[str, str] = {}
    for variable in manifests.items(container, "env"):
        name, value = manifests.text(variable, "name"), variable.get("value")
        if isinstance(value, str):
            known[name] = _expanded(value, known)
    return known


def _expanded(word: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known, `$$` made `$`; an unknown one stays, as in Kubernetes."""

    def value(match: re.Match[str]) -> str:
        return "$" if match.group(2) is None else environment.get(match.group(2), match.group(0))

    if "$" not in word:
        return word
    longest = max((len(each) for each in environment.values()), default=0)
    if len(word) + word.count("$(") * longest > MOST_CHARACTERS:
        return word  # variables that double one another: no argument list is that long
    return _KUBERNETES.sub(value, word)


def _unresolved(words: Sequence[str]) -> tuple[str, ...]:
    """Words that are nothing but an unknown variable, and not the value of a flag: they may hold any arguments."""
    return tuple(
        word
        for before, word in zip(("", *words), words, strict=False)
        if word.startswith("$") and (not before.startswith("-") or "=" in before)
    )


def _script(words: list[str]) -> str | None:
    """The script when a shell is run with `-c`."""
    if not words or words[0].rsplit("/", 1)[-1] not in _SHELLS:
        return None
    for index, word in enumerate(words[1:-1], start=1):
        if re.fullmatch(r"-[a-z]*c", word):
            return words[index + 1]
    return None


def _from_shell(script: str, environment: Mapping[str, str]) -> CommandLine:
    if len(script) > MOST_SCRIPT:
        return CommandLine((), environment, has_command=True, in_shell=True, unread=("shell script",))
    text = script.replace("\\\n", " ").replace("\n", " ; ")
    lexer = shlex.shlex(_substituted(text, environment), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        commands = _commands(list(lexer))
    except ValueError:
        return CommandLine((), environment, has_command=True, in_shell=True, unread=("shell script",))
    words = max(commands, key=_likelihood, default=())
    return CommandLine(words, environment, has_command=True, in_shell=True, unread=_unresolved(words))


def _substituted(text: str, environment: Mapping[str, str]) -> str:
    """`$NAME`, `${NAME}` and `${NAME:-default}`; what is unknown stays."""

    def value(match: re.Match[str]) -> str:
        name = match.group("braced") or match.group("plain")
        return environment.get(name) or match.group("fallback") or match.group(0)

    return _SHELL.sub(value, text)


def _commands(tokens: list[str]) -> list[tuple[str, ...]]:
    """The simple commands of a script, without assignments, `exec` and the like."""
    commands: list[list[str]] = [[]]
    for token in tokens:
        if token in _SEPARATORS:
            commands.append([])
        elif commands[-1] or not (_ASSIGNMENT.fullmatch(token) or token in _PREFIXES):
            commands[-1].append(token)
    return [tuple(command) for command in commands if command]


def _likelihood(command: tuple[str, ...]) -> tuple[bool, int]:
    """The command that serves: one that names an engine, then the one with most flags."""
    known = any(re.search(r"vllm|sglang|text-generation|triton|trtllm|llama|ray|serve", word) for word in command[:4])
    return known, sum(word.startswith("-") for word in command)
