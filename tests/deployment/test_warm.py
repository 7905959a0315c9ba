"""The warm process and what stands before it, with code of the tests in the place of Flower's command."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployment.warm import server

ROOT = Path(__file__).parents[2]
WARM = ROOT / "deployment" / "warm"
STAND_IN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy, random
from pathlib import Path
from deployment.warm import server

shared = []
server.warm_up = lambda name: lambda: exec(sys.argv[-1], {{"shared": shared}})
server.why_not = lambda: None
server.main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
"""
COLD = "#!/bin/sh\necho cold $SEMFED_MARK\n"
SUPEREXEC = """#!/bin/sh
echo "options: $*"
flwr-clientapp 'print("from", __import__("os").getppid(), flush=True)'
while [ ! -e "$SEMFED_MARK" ]; do sleep 0.1; done
exit 7
"""
LIMIT_S = 60.0


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs: Flower's own command, and a SuperExec that sends one message and waits for a mark."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in (("flwr-clientapp", COLD), ("flower-superexec", SUPEREXEC)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


class Server:
    """A warm process of the tests."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = Path(tempfile.mkdtemp()), programs
        self.socket = self.folder / "socket"
        theirs, self.lifeline = os.pipe()
        command = [sys.executable, "-P", "-c", STAND_IN, "flwr-clientapp", self.socket, str(theirs), "0"]
        self.process = subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.PIPE, text=True)
        os.close(theirs)
        until(self.socket.exists)

    def send(self, code: str, *, shim: Path = WARM / "bin" / "flwr-clientapp", **variables: str) -> tuple[str, str]:
        """Start the command as SuperExec does; return its outputs, once whoever holds them has ended."""
        environment = {**os.environ, "SEMFED_WARM": str(self.socket), **variables}
        environment["PATH"] = os.pathsep.join([str(shim.parent), str(self.programs), os.environ["PATH"]])
        done = subprocess.run([shim, "--token", "t", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip(), done.stderr

    def close(self) -> None:
        with_end = self.process.poll() is None
        if with_end:
            os.close(self.lifeline)
        self.process.wait(LIMIT_S)


@pytest.fixture
def warm(tmp_path: Path, programs: Path) -> Iterator[Server]:
    server = Server(tmp_path, programs)
    yield server
    server.close()
    assert server.process.stderr is not None
    server.process.stderr.close()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_forked_process_is_what_was_asked_for(warm: Server, tmp_path: Path) -> None:
    told = "os.getppid(), os.environ['MARK'], os.getcwd(), sys.argv[1:3]"
    code = f"import os, sys; print({told}); print('e', file=sys.stderr)"
    out, err = warm.send(code, MARK="m")
    assert out == f"{warm.process.pid} m {os.getcwd()} ['--token', 't']"
    assert err == "e\n"


def test_it_lets_the_supernode_fetch_the_message_first(warm: Server) -> None:
    began = time.time()
    out, _ = warm.send("import time; print(time.time())")
    assert float(out) - began >= server.LINGER_S["flwr-clientapp"]


def test_no_message_sees_what_another_did(warm: Server) -> None:
    look = (
        "import os, sys, numpy, random; print(len(shared), os.environ.get('MARK'), os.getcwd(), 'extra' in sys.modules)"
    )
    before = warm.send(look)[0]
    spoil = "import os, sys; shared.append(1); os.environ['MARK'] = 'x'; os.chdir('/'); sys.modules['extra'] = sys"
    warm.send(spoil)
    assert warm.send(look)[0] == before == f"0 None {os.getcwd()} False"


def test_every_message_has_randomness_of_its_own(warm: Server) -> None:
    draw = "import numpy, random, uuid; print(numpy.random.random(), random.random(), uuid.uuid4())"
    draws = [warm.send(draw)[0].split() for _ in range(3)]
    assert all(len(set(column)) == 3 for column in zip(*draws, strict=True))


def test_its_memory_does_not_grow_with_messages(warm: Server) -> None:
    warm.send("pass")
    before = psutil.Process(warm.process.pid).memory_info().rss
    for _ in range(10):
        warm.send("import numpy; numpy.ones(10**7)")
    assert psutil.Process(warm.process.pid).memory_info().rss - before < 4e6
    until(lambda: not psutil.Process(warm.process.pid).children())


def test_what_is_due_at_an_exit_is_done_and_shared_objects_stay_whole(warm: Server) -> None:
    code = """
import atexit, os, sys, threading, time

class Object:
    def __del__(self, write=os.write):
        write(1, b"taken apart")

sys.kept = Object()
atexit.register(print, "due")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.exit("why")
"""
    assert warm.send(code) == ("thread\ndue", "why\n")


def test_without_a_warm_process_flowers_own_command_does_it(warm: Server) -> None:
    warm.process.kill()
    warm.process.wait()
    out, err = warm.send("print('warm')", SEMFED_MARK="m")
    assert out == "cold m"
    assert "no warm process" in err
    out, err = warm.send("print('warm')", SEMFED_WARM="", SEMFED_MARK="m")
    assert out == "cold m"


def test_a_warm_process_that_does_not_answer_is_left_and_does_not_do_it_a_second_time(
    warm: Server, tmp_path: Path
) -> None:
    hasty = tmp_path / "bin" / "flwr-clientapp"
    hasty.parent.mkdir()
    source = (WARM / "bin" / "flwr-clientapp").read_text()
    hasty.write_text(source.replace("PATIENCE_S = 20.0", "PATIENCE_S = 0.3"))
    hasty.chmod(0o755)
    warm.process.send_signal(signal.SIGSTOP)
    mark = tmp_path / "done"
    out, err = warm.send(f"open({str(mark)!r}, 'w')", shim=hasty)
    assert (out, "timed out" in err) == ("cold", True)
    warm.process.send_signal(signal.SIGCONT)
    assert warm.send("print('again')")[0] == "again"
    until(lambda: not psutil.Process(warm.process.pid).children())
    assert not mark.exists()


@pytest.mark.parametrize("name", server.IMPORTED)
def test_there_is_a_program_for_every_command(warm: Server, name: str) -> None:
    assert warm.send("import sys; print(sys.argv[0])", shim=WARM / "bin" / name)[0].endswith(f"/bin/{name}")
    (warm.programs / name).write_text("#!/bin/sh\necho own $0")
    (warm.programs / name).chmod(0o755)
    assert warm.send("", shim=WARM / "bin" / name, SEMFED_WARM="")[0] == f"own {warm.programs / name}"


def test_a_client_process_that_is_killed_is_told_of_and_costs_itself_only(warm: Server) -> None:
    warm.send("import os; os.kill(os.getpid(), 9)")
    assert warm.send("print('next')")[0] == "next"
    warm.close()
    assert warm.process.stderr is not None
    assert "was ended by signal 9" in warm.process.stderr.read()


def test_it_ends_its_client_processes_with_itself(warm: Server) -> None:
    shim = WARM / "bin" / "flwr-clientapp"
    environment = {**os.environ, "SEMFED_WARM": str(warm.socket)}
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    subprocess.run([shim, code], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (child,) = psutil.Process(warm.process.pid).children()
    warm.close()
    assert not child.is_running()


def test_threads_and_gpus_are_no_base_for_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda path: ["1", "2", "3"])
    assert "imports started 2 threads" in str(server.why_not())
    monkeypatch.setattr(os, "listdir", lambda path: ["1"])
    assert server.why_not() is None
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    assert "a GPU has been touched" in str(server.why_not())


class Supervised:
    """``superexec.py`` with the stand-in for the warm process, and the tests' SuperExec."""

    def __init__(self, folder: Path, programs: Path, source: str = STAND_IN) -> None:
        shutil.copytree(WARM, folder / "warm", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "warm" / "server.py").write_text(source)
        self.mark, self.log = folder / "mark", folder / "log"
        self.scratch = Path(
            tempfile.mkdtemp()
        )  # below tmp_path, a socket's name may be longer than the 107 bytes it has
        environment = {**os.environ, "TMPDIR": str(self.scratch), "SEMFED_MARK": str(self.mark),
                       "PATH": os.pathsep.join([str(programs), os.environ["PATH"]])}  # fmt: skip
        with self.log.open("w") as log:
            command = [sys.executable, folder / "warm" / "superexec.py", "flwr-clientapp", "--insecure"]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        until(lambda: "from" in self.log.read_text() or "cold" in self.log.read_text())
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def warm(self) -> psutil.Process:
        """The warm process."""
        return next(process for process in self.family if "server.py" in " ".join(process.cmdline()))

    def gone(self) -> bool:
        """Whether nothing is left."""
        return not psutil.wait_procs(self.family, timeout=LIMIT_S)[1]


@pytest.fixture
def supervised(tmp_path: Path, programs: Path) -> Iterator[Supervised]:
    started = Supervised(tmp_path, programs)
    yield started
    started.process.kill()
    started.process.wait()
    started.mark.touch()  # Flower's SuperExec sees by --parent-pid that it is alone; the tests' needs this
    assert started.gone()


def test_superexec_has_its_options_and_its_messages_are_forked(supervised: Supervised) -> None:
    log = supervised.log.read_text()
    assert f"options: --insecure --parent-pid={supervised.process.pid}" in log
    assert f"from {supervised.warm.pid}" in log


def test_it_ends_with_superexec_and_with_its_status(supervised: Supervised) -> None:
    supervised.mark.touch()
    assert supervised.process.wait(LIMIT_S) == 7
    assert supervised.gone()
    assert not list(supervised.scratch.iterdir())


def test_a_request_to_end_reaches_superexec(supervised: Supervised) -> None:
    supervised.process.terminate()
    assert supervised.process.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert supervised.gone()
    assert not list(supervised.scratch.iterdir())


def test_a_warm_process_that_dies_is_started_again(supervised: Supervised) -> None:
    supervised.warm.kill()
    until(lambda: "the warm process ended with -9; another one is started after 1 s" in supervised.log.read_text())
    (socket,) = supervised.scratch.glob("*/socket")
    shim, environment = WARM / "bin" / "flwr-clientapp", {**os.environ, "SEMFED_WARM": str(socket)}

    def forked() -> bool:
        environment["PATH"] = os.pathsep.join([str(supervised.mark.parent / "programs"), os.environ["PATH"]])
        done = subprocess.run([shim, "print('warm')"], env=environment, capture_output=True, text=True, check=True)
        return done.stdout == "warm\n"

    until(forked)
    supervised.family += psutil.Process(supervised.process.pid).children(recursive=True)


def test_whoever_is_killed_takes_the_warm_process_along(supervised: Supervised) -> None:
    supervised.process.kill()
    assert not psutil.wait_procs([supervised.warm], timeout=LIMIT_S)[1]


def test_superexec_works_where_nothing_can_be_warm(tmp_path: Path, programs: Path) -> None:
    started = Supervised(tmp_path, programs, "import sys; sys.exit('no warm process: imports started 2 threads')")
    try:
        assert "the warm process ended with 1; another one is started after 1 s" in started.log.read_text()
        assert f"cold {started.mark}" in started.log.read_text()
    finally:
        started.mark.touch()
        started.process.wait(LIMIT_S)
    assert started.gone()
