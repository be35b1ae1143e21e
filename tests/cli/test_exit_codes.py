"""Every way to end: the exit code, the one line on stderr, and the JSON error."""

from __future__ import annotations

import contextlib
import errno
import signal
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.attack_choice import AttackChoice
from geotrap_cli.errors import GateFailed, GeotrapError, NonFiniteError, NotValid, UsageError
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.runs import create_run


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


def test_zero_with_the_result_on_stdout(geotrap: Any, library: Any) -> None:
    done = geotrap("train")
    assert (done.code, done.out, done.err) == (0, "the answer is 42\n", "")


def test_json_result(geotrap: Any, library: Any) -> None:
    assert geotrap("train", "--json").document == {"answer": 42}


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (GeotrapError("disk on fire", hint="call for help"), 1, "error: disk on fire. Call for help"),
        (NonFiniteError("loss is nan at step 3"), 1, "error: loss is nan at step 3"),
        (UsageError("wrong input"), 2, "error: wrong input"),
        (GateFailed("recovery 0.9 > 0.5"), 3, "error: recovery 0.9 > 0.5"),
        (NotValid("verdict is MASKED"), 4, "error: verdict is MASKED"),
        (MemoryError(), 1, "error: out of memory. Use smaller batches"),
        (OutOfMemoryError("CUDA out of memory. Tried ..."), 1, "error: out of memory. Use smaller batches"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 1, "error: No space left on device: runs/x. Free"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "error: Permission denied: runs. Check"),
        (RuntimeError("two\nlines"), 1, "error: internal error: RuntimeError: two lines. --debug shows"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_errors_are_one_line_on_stderr(geotrap: Any, library: Any, error: Exception, code: int, line: str) -> None:
    library.error = error
    done = geotrap("train")
    assert done.code == code
    assert done.out == ""
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--json", "train"], "use smaller batches, such as --set train.batch_size=1 --set eval.batch_size=1"),
        (["attack", "--json"], "use smaller batches, such as --set attack.batch_size=1 --set eval.batch_size=1"),
        (["compare", "--json"], "close what else uses memory, or use a machine with more"),
    ],
)
def test_out_of_memory_names_what_acts(
    geotrap: Any, library: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], hint: str
) -> None:
    library.error = MemoryError()
    monkeypatch.setattr("geotrap_cli.runs.latest_run", lambda *_: RunFolder(Path("runs/none")))
    monkeypatch.setattr(AttackChoice, "load", lambda *_: None)
    assert geotrap(*arguments).error["hint"] == hint


def test_debug_adds_the_traceback(geotrap: Any, library: Any) -> None:
    library.error = RuntimeError("oops")
    assert "Traceback" not in geotrap("train").err
    done = geotrap("train", "--debug")
    assert "Traceback" in done.err
    assert "in call" in done.err
    assert done.err.splitlines()[-1].startswith("error: internal error: RuntimeError: oops")


def test_json_error_is_an_object_on_stderr(geotrap: Any, library: Any) -> None:
    library.error = GeotrapError("disk on fire", hint="call for help")
    done = geotrap("--json", "train")
    assert done.out == ""
    assert done.error == {"message": "disk on fire", "hint": "call for help", "exit_code": 1}


@pytest.mark.parametrize(("failure", "code"), [(GateFailed("gate"), 3), (NotValid("not valid"), 4)])
def test_failing_result_is_shown_before_it_fails(geotrap: Any, library: Any, failure: Exception, code: int) -> None:
    library.result.failure = failure
    done = geotrap("compare")
    assert done.code == code
    assert done.out == "the answer is 42\n"
    assert done.err == f"error: {failure}\n"


class TestInterrupt:
    def test_before_the_run_there_is_nothing_to_go_on_with(self, geotrap: Any, library: Any) -> None:
        library.error = KeyboardInterrupt()
        done = geotrap("train")
        assert (done.code, done.err) == (130, "error: interrupted before the run began\n")

    def test_swallowed_by_a_library_it_still_counts(self, geotrap: Any, library: Any) -> None:
        # A test run started in the background inherits an ignored SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def swallow() -> Any:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            raise ImportError("cannot load module more than once per process")

        library.before = swallow
        done = geotrap("train")
        assert (done.code, done.err) == (130, "error: interrupted\n")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    @pytest.mark.parametrize("command", ["train", "analyze-layers"])
    def test_names_the_run_when_there_is_one(self, geotrap: Any, library: Any, tmp_path: Any, command: str) -> None:
        run = create_run(command, "x", "", tmp_path)
        with pytest.raises(KeyboardInterrupt) as caught, run:
            raise KeyboardInterrupt
        library.error = caught.value
        done = geotrap(command, "--json")
        assert done.code == 130
        assert done.error["hint"] == f"go on with `geotrap {command} --resume {run.path}`"

    def test_command_that_cannot_resume_does_not_promise_it(self, geotrap: Any, library: Any) -> None:
        library.error = KeyboardInterrupt()
        assert geotrap("compare").err == "error: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian"], "No such command 'trian'"),
        (["train", "--bogus"], "No such option: --bogus"),
        (["train", "surplus"], "surplus"),
        (["train", "--seed", "x"], "--seed"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--device", "gpu"], "--device 'gpu' is no device. Use auto, cpu or cuda:N"),
        (["train", "--profile", "pos_opacty"], "Did you mean 'pos_opacity'?"),
        (["train", "--profile", ""], "--profile is empty. Give it a value, or leave it out"),
        (["train", "--profile", "/"], "no profile '/'. Known: "),
        (["train", "--profile", "~nobody-at-all/x"], "no profile '~nobody-at-all/x'. Known: "),
        (["train", "--resume="], "--resume is empty"),
        (["train", "--defense", ""], "defense.method: unknown defense ''; known: "),
        (["train", "--resume", "--defense", ""], "--resume continues with the run's own defense"),
        (["train", "--set", "train.stepz=1"], "train.stepz: unknown key; did you mean 'train.steps'?"),
        (["train", "--resume"], "no unfinished train run in runs. Start one with `geotrap train`"),
        (["train", "--resume", "--set", "train.steps=3"], "so --set cannot act"),
        (["train", "--resume", "--seed", "0"], "so --seed cannot act"),
        (["attack"], "no finished train run in runs. Run `geotrap train` first"),
        (["attack", "--resume", "--lora"], "--resume continues with the run's own attacks"),
        (["analyze-layers", "--mode", "atack"], "atack"),
        (["analyze-layers", "--mode", "attack", "--traps", "scale"], "--traps acts only with --mode trap"),
        (["analyze-layers", "--traps"], "--traps"),
        (["plugins", "trapz"], "unknown group 'trapz'. Did you mean 'traps'?"),
        (["profiles", "show", "nothing"], "no profile 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_two_for_wrong_usage(geotrap: Any, library: Any, arguments: list[str], told: str) -> None:
    done = geotrap(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert told in done.err
    assert done.err.count("\n") == 1
    assert library.calls == []

    as_json = geotrap(*arguments, "--json") if arguments[-1] != "--traps" else geotrap("--json", *arguments)
    assert as_json.error["exit_code"] == 2
