"""Functions run as Lambda runs them: real processes with AWS's own runtime client."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.local.conftest import Project, eventually, is_alive

ECHO = """
    def handler(event, context):
        return event
"""
SLEEP = """
    import os, time

    def handler(event, context):
        print("begun", flush=True)
        time.sleep(event["sleep"])
        return os.getpid()
"""


async def test_the_handler_gets_the_event_and_its_answer_comes_back(project: Project) -> None:
    project.write(ECHO)
    await project.start()

    result = await project.invoke({"text": "naïve ☃", "list": [1, None]})

    assert (result.status, result.error) == (200, None)
    assert result.payload == {"text": "naïve ☃", "list": [1, None]}


async def test_the_context_has_the_deadline_and_the_name_of_the_template(project: Project) -> None:
    project.template(timeout=7)
    project.write(
        """
        def handler(event, context):
            return {
                "left": context.get_remaining_time_in_millis(),
                "name": context.function_name,
                "id": context.aws_request_id,
                "arn": context.invoked_function_arn,
                "memory": context.memory_limit_in_mb,
            }
        """
    )
    await project.start()

    seen = (await project.invoke()).payload

    assert 0 < seen["left"] <= 7000
    assert seen["name"] == "JobFunction"
    assert len(seen["id"]) == 36
    assert seen["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:JobFunction"
    assert seen["memory"] == "128"


async def test_the_stack_s_settings_go_before_the_template_s_and_the_shell_s_stay_out(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLY_IN_THE_SHELL", "1")
    project.template(more="Environment: {Variables: {A: template, B: template, C: !Ref Queue}}")
    project.write("import os\ndef handler(event, context): return dict(os.environ)")
    await project.start(environment={"B": "stack"})

    seen = (await project.invoke()).payload

    assert (seen["A"], seen["B"]) == ("template", "stack")
    assert "C" not in seen
    assert "ONLY_IN_THE_SHELL" not in seen
    assert seen["LAMBDA_TASK_ROOT"] == str(project.root)


async def test_a_warm_process_is_used_again(project: Project) -> None:
    project.write("import os\ndef handler(event, context): return os.getpid()")
    await project.start()

    pids = {(await project.invoke()).payload for _ in range(3)}

    assert pids == {process.pid for process in project.runtime.processes("JobFunction")}
    assert len(pids) == 1


async def test_events_at_the_same_time_run_in_processes_of_their_own_up_to_the_limit(
    project: Project,
) -> None:
    project.write(SLEEP)
    await project.start(concurrency=2)

    results = await asyncio.gather(*(project.invoke({"sleep": 0.5}) for _ in range(3)))

    assert sorted(result.status for result in results) == [200, 200, 429]
    assert len({result.payload for result in results if result.succeeded}) == 2


async def test_a_process_that_is_idle_for_long_is_ended(project: Project) -> None:
    project.write(ECHO)
    await project.start(idle_timeout=0.1)
    await project.invoke()
    (process,) = project.runtime.processes("JobFunction")

    await asyncio.wait_for(process.exited.wait(), 60)

    assert not is_alive(process.pid)
    assert (await project.invoke("again")).payload == "again"


async def test_an_exception_is_answered_with_its_type_and_message(project: Project) -> None:
    project.write("def handler(event, context): raise LookupError('no such user')")
    await project.start()

    result = await project.invoke()

    assert result.status == 200
    assert (result.error["errorType"], result.error["errorMessage"]) == (
        "LookupError",
        "no such user",
    )


async def until(condition: Callable[[], object]) -> None:
    """Wait while the runtime goes on."""
    assert await asyncio.to_thread(eventually, condition)


async def test_at_the_deadline_the_process_is_killed(project: Project) -> None:
    project.template(timeout=0.5)
    project.write(SLEEP)
    await project.start()
    running = asyncio.create_task(project.invoke({"sleep": 30}))
    await until(lambda: project.runtime.processes("JobFunction"))
    (process,) = project.runtime.processes("JobFunction")

    result = await running

    assert result.error["errorType"] == "Sandbox.Timedout"
    assert result.error["errorMessage"].endswith("Error: Task timed out after 0.50 seconds")
    assert eventually(lambda: not is_alive(process.pid))
    assert (await project.invoke({"sleep": 0})).succeeded


async def test_the_time_to_start_does_not_count_towards_the_deadline(project: Project) -> None:
    project.template(timeout=0.5)
    project.write("import time\ntime.sleep(1)\ndef handler(event, context): return 1")
    await project.start()

    assert (await project.invoke()).payload == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
    ],
)
async def test_a_process_that_dies_with_the_event_fails_only_this_event(
    project: Project, code: str, reason: str
) -> None:
    project.write(f"import os\ndef handler(event, context): {code} if event else None")
    await project.start()

    result = await project.invoke("die")

    assert result.error["errorType"] == "Runtime.ExitError"
    assert result.error["errorMessage"].endswith(f"Error: {reason}")
    assert (await project.invoke()).succeeded


async def test_a_worker_killed_from_outside_fails_the_event_it_had(project: Project) -> None:
    project.write(SLEEP)
    await project.start()
    running = asyncio.create_task(project.invoke({"sleep": 30}))
    await until(lambda: "JobFunction begun" in project.lines)
    (process,) = project.runtime.processes("JobFunction")

    os.kill(process.pid, signal.SIGKILL)

    result = await asyncio.wait_for(running, 60)
    assert result.error["errorMessage"].endswith("Runtime exited with error: signal: killed")


async def test_a_handler_that_cannot_be_imported_is_reported_and_tried_again(
    project: Project,
) -> None:
    project.write("import nowhere_to_be_found\n")
    await project.start()

    result = await project.invoke()

    assert result.error["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'nowhere_to_be_found'" in result.error["errorMessage"]
    assert eventually(lambda: any("nowhere_to_be_found" in line for line in project.lines))
    project.write(ECHO)
    assert (await project.invoke("now")).payload == "now"


@pytest.mark.parametrize(
    "path", ["functions/job/handler.py", "functions/beside.py", "shared/layer.py"]
)
async def test_a_change_takes_effect_with_the_next_event(project: Project, path: str) -> None:
    project.write("VALUE = 1\n", "functions/beside.py")
    project.write("VALUE = 1\n", "shared/layer.py")
    handler = """
        import layer
        from functions import beside
        VALUE = 1
        def handler(event, context): return VALUE + beside.VALUE + layer.VALUE
    """
    project.write(handler)
    await project.start()
    assert (await project.invoke()).payload == 3

    file = project.root / path
    file.write_text(file.read_text().replace("VALUE = 1", "VALUE = 2"))

    assert (await project.invoke()).payload == 4


async def test_an_event_in_flight_ends_on_the_code_it_began_with(project: Project) -> None:
    code = """
        import pathlib, time
        def handler(event, context):
            print("begun", flush=True)
            while event and not pathlib.Path(event).exists():
                time.sleep(0.02)
            return "old"
    """
    project.write(code)
    await project.start()
    may_end = project.root / "may-end"
    running = asyncio.create_task(project.invoke(str(may_end)))
    await until(lambda: "JobFunction begun" in project.lines)

    project.write(code.replace("old", "new"))

    assert (await project.invoke(None)).payload == "new"
    may_end.touch()
    assert (await running).payload == "old"
    assert (await project.invoke(None)).payload == "new"


async def test_what_a_function_prints_is_logged_under_its_name(project: Project) -> None:
    project.write("def handler(event, context): print('hello from', context.function_name)")
    await project.start()

    await project.invoke()

    assert eventually(lambda: "JobFunction hello from JobFunction" in project.lines)


async def test_a_payload_over_six_megabytes_is_refused(project: Project) -> None:
    project.write(ECHO)
    await project.start()

    assert (await project.invoke("x" * 6_300_000)).status == 413


async def test_an_answer_over_six_megabytes_is_an_error_of_the_function(project: Project) -> None:
    project.write("def handler(event, context): return 'x' * 6_300_000")
    await project.start()

    result = await project.invoke()

    assert result.error["errorType"] == "Function.ResponseSizeTooLarge"


async def test_a_caller_that_goes_away_does_not_stop_the_function(project: Project) -> None:
    project.write(
        """
        import pathlib, time
        def handler(event, context):
            print("begun", flush=True)
            time.sleep(0.5)
            pathlib.Path(event).write_text("done")
        """
    )
    await project.start()
    result = project.root / "result"
    running = asyncio.create_task(project.invoke(str(result)))
    await until(lambda: "JobFunction begun" in project.lines)

    running.cancel()

    await asyncio.sleep(0)
    assert await asyncio.to_thread(eventually, result.exists)


async def test_stopping_ends_every_process_also_what_a_handler_started(project: Project) -> None:
    project.write(
        """
        import os, subprocess
        def handler(event, context):
            return [os.getpid(), subprocess.Popen(["sleep", "60"]).pid]
        """
    )
    await project.start()
    pids = (await project.invoke()).payload

    await project.runtime.stop()

    assert eventually(lambda: not any(is_alive(pid) for pid in pids))


def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = """
        import asyncio, sys
        from pathlib import Path
        from infra.local.lambda_runtime import LambdaRuntime
        from infra.local.template import Function, Template

        async def main(root):
            function = Function("Job", "functions.job.handler.handler", timeout=60)
            runtime = LambdaRuntime(Template({"Job": function}), {}, root)
            await runtime.invoke("Job", None)
        asyncio.run(main(Path(sys.argv[1])))
    """
    handler = """
        import os, pathlib, time
        def handler(event, context):
            pathlib.Path("unfinished").write_text(str(os.getpid()))
            os.rename("unfinished", "pid")
            time.sleep(60)
    """
    (tmp_path / "functions/job").mkdir(parents=True)
    (tmp_path / "functions/job/handler.py").write_text(textwrap.dedent(handler))
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path], cwd=root, stderr=subprocess.DEVNULL
    )
    assert eventually((tmp_path / "pid").exists)
    worker = int((tmp_path / "pid").read_text())
    assert is_alive(worker)

    parent.kill()
    parent.wait()

    assert eventually(lambda: not is_alive(worker))
