# SPDX-License-Identifier: Apache-2.0
"""A real tractord, embedded, for tests: started, asked over its control socket, and proved to be gone.

Nothing here polls or sleeps: waiting is for an event of events.subscribe, for a line, or for a process's end, and every
wait has a limit that fails the test."""

import contextlib
import ctypes
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("TRACTOR_TEST_BUILD") or os.path.abspath("build")
LIMIT = float(os.environ.get("TRACTOR_TEST_LIMIT", "20"))


def program(name):
    for folder in ("keeper", "supervisor", "logger", "tractorctl"):
        path = os.path.join(BUILD, "src", folder, name)
        if os.path.exists(path):
            return path
    return os.path.join(BUILD, "tests", "helpers", name)


BAD_ACTOR = program("bad-actor")


def await_change(path, look):
    """What look() gives once that is true: asked again at every change of the file, or of the files in the folder."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # IN_MODIFY | IN_MOVED_TO | IN_CREATE, before the first look
        assert libc.inotify_add_watch(fd, os.fsencode(path), 0x2 | 0x80 | 0x100) >= 0, os.strerror(ctypes.get_errno())
        deadline = time.monotonic() + LIMIT
        while not (found := look()):
            ready, _, _ = select.select([fd], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{path} did not come to hold what was due"
            os.read(fd, 65536)
        return found
    finally:
        os.close(fd)


def read_text(path):
    with open(path, errors="replace") as f:
        return f.read()


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data") or {}


class Connection:
    """One JSON-lines connection."""

    def __init__(self, path, sock=None):
        self.sock = sock or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(LIMIT)
        if not sock:
            self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        self.ids = itertools.count(1, 2)

    def send(self, message):
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def receive(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the connection was closed")
        return json.loads(line)

    def request(self, method, params=None, meta=None):
        ident = next(self.ids)
        message = {"jsonrpc": "2.0", "id": ident, "method": method}
        if params is not None:
            message["params"] = params
        if meta:
            message["$"] = meta
        self.send(message)
        return ident

    def answer(self, ident):
        while True:
            message = self.receive()
            if message.get("id") == ident and "method" not in message:
                if "error" in message:
                    raise RpcError(message["error"])
                return message["result"]

    def call(self, method, **params):
        return self.answer(self.request(method, params))

    def close(self):
        self.file.close()
        self.sock.close()


def connect_when_up(path, process):
    """Waits for a daemon's socket by asking for it: there is no event for a socket that begins to listen."""
    deadline = time.monotonic() + 3 * LIMIT  # systemd may be busy with what ended before
    while True:
        try:
            return Connection(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            select.select([], [], [], 0.005)


def connect_as(path, uid, groups=()):
    """A connection of another user: who connects is who the kernel tells of, whoever speaks then."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setgroups(list(groups))
            os.setgid(uid)
            os.setuid(uid)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(path)
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
            os._exit(0)
        os._exit(1)
    theirs.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    fds = socket.recv_fds(ours, 1, 1)[1]
    ours.close()
    return Connection(path, socket.socket(fileno=fds[0]))


class Events(Connection):
    """A subscription; remembers what it has seen, so that a test may ask for what has already happened."""

    def __init__(self, path, below="/"):
        super().__init__(path)
        self.seen = []
        self.ident = self.request("events.subscribe", {"path": below}, {"ctx": True, "credit": 100000})
        first = self.receive()
        assert first["method"] == "$/started", first

    def next(self):
        while True:
            message = self.receive()
            if message.get("method") == "$/next":
                item = message["params"]["value"]
                self.seen.append(item)
                return item

    def wait(self, predicate, what="an event"):
        """The first event, seen or to come, that fits; it and all before it are forgotten."""
        deadline = time.monotonic() + LIMIT
        for i, item in enumerate(self.seen):
            if predicate(item):
                del self.seen[: i + 1]
                return item
        while time.monotonic() < deadline:
            item = self.next()
            if predicate(item):
                self.seen.clear()
                return item
        raise AssertionError(f"{what} did not come")

    def state(self, path, *states):
        return self.wait(
            lambda e: e["event"] == "state" and e["path"] == path and e["to"] in states, f"{path} → {states}"
        )


class Tractor:
    def __init__(self, backend="process", env=None, args=(), user=None):
        self.dir = tempfile.mkdtemp(prefix="tractor-test-")
        identity = {}
        if user is not None:
            os.chown(self.dir, user, user)
            identity = {"user": user, "group": user, "extra_groups": []}
        self.path = os.path.join(self.dir, "control.sock")
        self.log_path = os.path.join(self.dir, "log")
        self.owner, theirs = socket.socketpair()
        environ = dict(os.environ, STATE_DIRECTORY=os.path.join(self.dir, "state"))
        environ.update(env or {})
        environ["RUNTIME_DIRECTORY"] = os.path.join(self.dir, "run")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [program("tractord"), "--embedded", f"--owner-fd={theirs.fileno()}", f"--listen={self.path}",
                 f"--backend={backend}", "--log-level=debug", *args],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ,
                **identity,
            )
        theirs.close()
        self.connections = []
        try:
            self.main = self.connect()
            self.status = self.call("supervisor.status")
        except BaseException:
            self.show_log()
            raise

    def show_log(self):
        sys.stderr.write(open(self.log_path, errors="replace").read())

    def connect(self):
        connection = connect_when_up(self.path, self.process)
        self.connections.append(connection)
        return connection

    def connect_as(self, uid, groups=()):
        os.chmod(self.dir, 0o711)
        os.chmod(self.path, 0o666)
        connection = connect_as(self.path, uid, groups)
        self.connections.append(connection)
        return connection

    def call(self, method, **params):
        return self.main.call(method, **params)

    def events(self, below="/"):
        events = Events(self.path, below)
        self.connections.append(events)
        return events

    def load(self, name="t", **keys):
        return self.call("tree.load", tree={"tractor": 1, "name": name, **keys})

    def get(self, path, **params):
        return self.call("tree.get", path=path, **params)

    def pid(self, path):
        return self.get(path)["pid"]

    def await_log(self, text):
        """A line of the daemons' own log that is written some time after what made for it."""
        return await_change(self.log_path, lambda: text in read_text(self.log_path))

    @property
    def output_folder(self):
        return os.path.join(self.dir, "state", self.status["instance"])

    def output(self, path):
        """What an actor has said, where there is no journal: (stream, line), the oldest first."""
        name = os.path.join(self.output_folder, path[1:].replace("/", "+") + ".log")
        text = "".join(read_text(n) for n in (name + ".1", name) if os.path.exists(n))
        return [tuple(line.split(" ", 3)[1:4:2]) for line in text.splitlines()]

    def await_output(self, path, due):
        return await_change(self.output_folder, lambda: due(self.output(path)))

    def logger(self):
        """The pid of the process that writes the actors' output."""
        return child_called(self.status["pid"], "tractor-logger")

    def spawner(self):
        return child_called(self.process.pid, "tractor-spawner")

    def stop(self):
        """Ends it as its owner would, and proves that nothing is left."""
        for connection in self.connections:
            connection.close()
        self.owner.close()
        try:
            code = self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.show_log()
            self.process.kill()
            raise AssertionError("tractord did not end with its owner")
        left = survivors(self.status["instance"])
        if left:
            self.show_log()
            raise AssertionError(f"left behind: {left}")
        if code != 0:
            self.show_log()
            raise AssertionError(f"tractord ended with {code}")  # a sanitizer's findings, too
        shutil.rmtree(self.dir)


def instrumented(pid):
    return "libasan" in read_text(f"/proc/{pid}/maps")


def memory_kib(pid, limit):
    """Checks the resident size of a process; an instrumented one may use more, for its own book-keeping."""
    if instrumented(pid):
        limit *= 8
    rss = int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    assert rss < limit, f"{rss} KiB resident, at most {limit} were due"


def child_called(parent, name):
    for pid in open(f"/proc/{parent}/task/{parent}/children").read().split():
        with contextlib.suppress(OSError):
            if open(f"/proc/{pid}/comm").read() == f"{name}\n":
                return int(pid)
    return None


def survivors(instance):
    """Processes that carry this instance in their environment, whoever their parent is now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            environ = open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
            if f"TRACTOR_INSTANCE={instance}".encode() in environ:
                found.append((int(pid), open(f"/proc/{pid}/cmdline").read().replace("\0", " ")))
    return found


@contextlib.contextmanager
def tractor(backend="process", **options):
    t = Tractor(backend, **options)
    try:
        yield t
    except BaseException:
        t.show_log()
        with contextlib.suppress(BaseException):
            t.stop()
        raise
    t.stop()


def gone(pid):
    """Waits for a process's end by its pidfd (it may be someone else's child)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([fd], [], [], LIMIT)
        return bool(ready)
    finally:
        os.close(fd)


def kill(pid, signo=signal.SIGKILL):
    os.kill(pid, signo)


def expect_error(code, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except RpcError as error:
        assert error.code == code, f"{error.code} instead of {code}: {error.message}"
        return error
    raise AssertionError(f"no error, {code} was due")


def skip(why):
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(1 if os.environ.get("TRACTOR_TEST_STRICT") == "1" else 77)


@contextlib.contextmanager
def libexec(*names):
    """A folder for TRACTOR_LIBEXECDIR with some of the programs."""
    with tempfile.TemporaryDirectory(prefix="libexec-") as folder:
        for name in names:
            os.symlink(program(name), os.path.join(folder, name))
        yield folder


DAEMONS = ("tractord", "tractor-supervisor", "tractor-spawner", "tractor-logger")


def sleeper(name, **keys):
    return {"name": name, "exec": ["sleep", "1000"], **keys}


def main(tests):
    """Runs the functions given, or those named on the command line; `BACKEND=…` arguments choose backends."""
    names = [a for a in sys.argv[1:] if "=" not in a]
    backends = [a.split("=")[1] for a in sys.argv[1:] if a.startswith("BACKEND=")] or ["process"]
    for backend in backends:
        for test in tests:
            if names and test.__name__ not in names:
                continue
            start = time.monotonic()
            print(f"-- {test.__name__} ({backend})", file=sys.stderr, flush=True)
            test(backend)
            print(f"   {time.monotonic() - start:.2f} s", file=sys.stderr, flush=True)
