"""Arguments in, exit code out. Nothing heavy is imported before a command runs.

Exit codes: 0 done, 1 a gate failed, 2 bad usage, 3 incomplete, 4 refused as unsafe, 130 interrupted.
"""

import os
import sys
import traceback
from itertools import pairwise

from ..core.errors import HoplonError


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. The `hoplon` program ends with it."""
    import click

    from .commands import hoplon

    arguments = sys.argv[1:] if argv is None else argv
    try:
        _prepare(arguments)
        ended = hoplon.main(arguments, prog_name="hoplon", standalone_mode=False)
        code = ended if isinstance(ended, int) else 0  # a command that ends with an exit code has it returned here
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.exceptions.Abort):
        resumes = {"audit", "demo", "attack", "certify", "train"} & set(arguments[:1])
        _say(f"Interrupted. {'The same command goes on from here.' if resumes else 'Nothing was kept.'}")
        code = 130
    except BrokenPipeError:
        code = _pipe_closed()
    except HoplonError as error:
        code = _report(error, arguments, f"Error: {error}", error.exit_code)
    except Exception as error:
        text = f"Error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        code = _report(error, arguments, f"{text} (unexpected; --debug shows where)", 3)
    if argv is None:
        sys.exit(code)
    return code


def _prepare(arguments: list[str]) -> None:
    """Settings that only work before Keras and its framework are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for word, following in pairwise([*arguments, ""]):
        name, _, value = word.partition("=")
        if name == "--backend":
            os.environ["KERAS_BACKEND"] = value or following


def _report(error: Exception, arguments: list[str], line: str, code: int) -> int:
    if "--debug" in arguments:
        traceback.print_exception(error)
    _say(line)
    return code


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _pipe_closed() -> int:
    """Whoever read our output has gone: leave without another word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
