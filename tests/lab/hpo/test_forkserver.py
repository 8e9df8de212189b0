"""The warm server that trials are forked from, started as main.py starts it: by a script, from any folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import study_tools as tools

SCRIPT = """
import json, os, sys
sys.path.insert(0, {root!r})  # as for `python /some/where/main.py`

from lab.config import ConfigError, OptimizeConfig
from lab.hpo import forkserver as server


def look(line):
    line.send((sorted(sys.modules), os.getppid(), os.environ.get("PYTHONPATH")))


def start(what, *arguments):
    ours, theirs = server.context().Pipe()
    process = server.context().Process(target=what, args=(theirs, *arguments))
    process.start()
    theirs.close()
    answer = ours.recv()
    process.join()
    return answer


if __name__ == "__main__":
    before = os.environ.get("PYTHONPATH")
    config = OptimizeConfig.from_yaml(sys.argv[1])
    server.warm_up(config.base, "util")
    found = [start(look), start(look)]
    checks = []
    for path in sys.argv[1:]:
        document = OptimizeConfig.read(path)
        config = OptimizeConfig.from_document(document)
        try:
            server.check(config)
            checks.append("")
        except ConfigError as error:
            checks.append(str(document.located(error)))
        except RuntimeError as error:
            checks.append(f"RuntimeError: {{error}}")
    print(json.dumps({{
        "modules": found[0][0], "parents": [parent for _, parent, _ in found], "pid": os.getpid(),
        "before": before, "after": os.environ.get("PYTHONPATH"), "here": sorted(sys.modules),
        "checks": checks,
    }}))
"""
NET: Any = {"target": "mine.Net", "width": 4}
SPACES: dict[str, dict[str, Any]] = {
    "own": {"net.width": {"type": "int", "low": 4, "high": 8}},
    "wrong": {
        "net.widht": {"type": "int", "low": 4, "high": 8},
        "optimizer": {"choices": ["torch.optim.SGD", "torch.optim.AdamX"]},
    },
    "exits": {"net": {"choices": ["mine.Net", "leaves.Net"]}},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a script, run elsewhere, saw of the server and of the three studies that it checked."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "mine.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Linear):\n"
        "    def __init__(self, width=4):\n        super().__init__(1, width)\n"
    )
    (folder / "leaves.py").write_text("import os\n\nos._exit(5)\n")
    (folder / "script.py").write_text(SCRIPT.format(root=str(tools.ROOT)))
    for name, space in SPACES.items():
        tools.study_file(folder, f"{name}.yaml", search_space=space, **{"run.net": NET})
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "script.py", "own.yaml", "wrong.yaml", "exits.yaml"],
        cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_process_has_torch_and_the_project_at_its_start(told: dict[str, Any]) -> None:
    there = set(told["modules"])
    assert {"util", "lab.data", "torch._dynamo", "torch.optim", "lab.hpo.gc_freeze"} <= there
    assert not {"util", "torch"} & set(told["here"]), "the process that asks does without"


def test_all_come_from_one_server(told: dict[str, Any]) -> None:
    first, second = told["parents"]
    assert first == second != told["pid"]


def test_a_users_own_module_is_not_imported_by_the_server(told: dict[str, Any]) -> None:
    assert not {"mine", "leaves"} & set(told["modules"])


def test_the_environment_is_put_back(told: dict[str, Any]) -> None:
    assert told["before"] is None and told["after"] is None


def test_a_path_of_the_users_own_is_put_back(tmp_path: Path) -> None:
    own = str(tmp_path / "a") + os.pathsep + str(tools.ROOT)
    code = (
        "import os\nfrom lab.config import RunConfig\nfrom lab.hpo import forkserver as server\n"
        "base = RunConfig.from_yaml('run.yaml')\nserver.warm_up(base)\nprint(os.environ['PYTHONPATH'])"
    )
    (tmp_path / "run.yaml").write_text(
        "data: lab.data.function\nnet: model.MLP\npictures: {enabled: false}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": own}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{own}\n", "")


def test_a_study_without_faults_passes_with_a_module_of_the_users_own(told: dict[str, Any]) -> None:
    assert told["checks"][0] == ""


def test_problems_are_told_with_their_places(told: dict[str, Any], tmp_path: Path) -> None:
    path = tools.study_file(tmp_path, search_space=SPACES["wrong"], **{"run.net": NET})
    text = path.read_text().splitlines()
    line = next(number for number, row in enumerate(text, start=1) if "widht" in row)
    problems = told["checks"][1].splitlines()
    assert any(
        found.startswith(f"wrong.yaml:{line}: search_space.net.widht") and "did you mean 'width'" in found
        for found in problems
    ), problems
    assert any("search_space.optimizer" in found and "AdamX" in found for found in problems), problems
    assert all(found.startswith("wrong.yaml:") for found in problems[:2])


def test_a_module_that_ends_its_process_is_told(told: dict[str, Any]) -> None:
    assert told["checks"][2].startswith(
        "RuntimeError: checking the components ended their process (exit code 5)"
    )


def test_the_server_outlives_a_signal_to_the_whole_job(tmp_path: Path) -> None:
    """As a terminal that closes sends it: a process that is just being forked must not fail for it."""
    code = (
        "import os, signal, sys\n"
        "from lab.config import RunConfig\n"
        "from lab.hpo import forkserver as server\n"
        "if __name__ == '__main__':\n"
        "    server.warm_up(RunConfig.model_validate({'data': 'lab.data.function', 'net': 'model.MLP'}))\n"
        "    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):\n"
        "        assert signal.getsignal(number) != signal.SIG_IGN\n"
        "        signal.signal(number, signal.SIG_IGN)\n"
        "        os.killpg(os.getpgrp(), number)\n"
        "    process = server.context().Process(target=os.getpid)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    print(process.exitcode)\n"
    )
    (tmp_path / "job.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tools.ROOT)},
        capture_output=True, text=True, start_new_session=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_a_server_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """Before a process is started, and while the server starts or forks."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.15)\n")
    (tmp_path / "job.py").write_text(
        "import os, signal, time\n"
        "from multiprocessing import forkserver as servers\n"
        "from threading import Timer\n"
        "from lab.hpo import forkserver as server\n"
        "def kill():\n"
        "    os.kill(servers._forkserver._forkserver_pid, signal.SIGKILL)\n"
        "def look(line):\n"
        "    score = open('/proc/self/oom_score_adj').read()\n"
        "    line.send((os.getsid(0) == os.getpgrp() == os.getpid(), int(score), os.getppid()))\n"
        "def started():\n"
        "    process, line = server.start(look, name='look')\n"
        "    found = line.recv()\n"
        "    process.join()\n"
        "    return found, process.exitcode\n"
        "if __name__ == '__main__':\n"
        "    server.context().set_forkserver_preload(['slow'])\n"
        "    print(*started())\n"
        "    for delay in (0.0, 0.001, 0.002, 0.05, 0.1):\n"
        "        before = servers._forkserver._forkserver_pid\n"
        "        kill()\n"
        "        if delay > 0:\n"
        "            while servers._forkserver._forkserver_pid == before:\n"
        "                server._ensure_running()\n"
        "            Timer(delay, kill).start()\n"
        "        found, code = started()\n"
        "        assert (found[0], code) == (True, 0)\n"
        "    print('done')\n"
    )
    own = int(Path("/proc/self/oom_score_adj").read_text())
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tools.ROOT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.endswith("done\n"), done.stderr
    assert done.stdout.startswith(f"(True, {min(1000, own + 500)}, "), "it is ended before the scheduler"


def test_the_server_puts_nothing_away_at_its_end() -> None:
    code = (
        "import atexit\n"
        "atexit.register(print, 'a long farewell')\n"
        "import lab.hpo.gc_freeze\n"
        "print('begun', flush=True)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tools.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\n", "")
