# SPDX-License-Identifier: Apache-2.0
"""Tasks of a program on libtractor, in a live process or a core file. In gdb: source contrib/gdb/tractor-gdb.py

  tractor tasks       all of them: id, name, state, what each waits for, and the task whose nursery it is in
  tractor bt ID|all   where a parked task stands

A parked task's registers are in its fiber, as sigsetjmp() left them there, where the C library mangles stack pointer, frame pointer and
program counter. They are handed to gdb as the caller's of the innermost frame, so nothing of the process is changed. x86_64 only."""

import gdb
import gdb.unwinder

MASK = (1 << 64) - 1
# The order of glibc's jmp_buf; those that are mangled.
SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15", "rsp", "rip")
MANGLED = ("rbp", "rsp", "rip")
FRAMES_MAX = 64


def fail(text):
    raise gdb.GdbError(text)


def the_runtime():
    try:
        runtime = gdb.parse_and_eval("runtime_of_process")
    except gdb.error:
        fail("libtractor is not there, or has no debug information")
    if not runtime:
        fail("no tractor_run() at the moment")
    return runtime


def tasks():
    """All, in the order they were started."""
    runtime = the_runtime()
    kind = gdb.lookup_type("Task").pointer()
    offset = next(f.bitpos // 8 for f in gdb.lookup_type("Task").fields() if f.name == "node")
    head = runtime["tasks"].address
    node = head["next"]
    while node != head:
        yield (node.cast(gdb.lookup_type("char").pointer()) - offset).cast(kind)
        node = node["next"]


def is_running(task):
    return the_runtime()["running"] == task


def state(task):
    if is_running(task):
        return "running"
    return str(task["state"]).replace("TASK_", "").lower()


def waits_for(task):
    if state(task) != "parked" or not task["wait"]:
        return ""
    return f"{task['wait'].string()} {task['wait_detail'].string()}".strip()


def parent(task):
    nursery = task["nursery"]
    return str(int(nursery["task"]["id"])) if nursery else "-"


def rotate_right(value, by):
    return (value >> by | value << (64 - by)) & MASK


def registers(task):
    if gdb.selected_frame().architecture().name() != "i386:x86-64":
        fail("only x86_64 is known")
    env = task["fiber"]["env"][0]["__jmpbuf"]
    base = int(gdb.selected_frame().read_register("fs_base"))
    word = gdb.lookup_type("unsigned long").pointer()
    guard = int(gdb.Value(base + 0x30).cast(word).dereference())
    saved = {name: int(env[i]) & MASK for i, name in enumerate(SAVED)}
    for name in MANGLED:
        saved[name] = rotate_right(saved[name], 17) ^ guard
    return saved


class FrameId:
    """What later versions of gdb have under this name."""

    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class Parked(gdb.unwinder.Unwinder):
    """Says that what called the innermost frame is the parked task."""

    def __init__(self):
        super().__init__("tractor")
        self.saved = None

    def __call__(self, frame):
        if self.saved is None or frame.level() != 0:
            return None
        # Below the task's own frames, or gdb takes these for a corrupt stack.
        sp = gdb.Value(self.saved["rsp"] - 256)
        info = frame.create_unwind_info(FrameId(sp, frame.read_register("rip")))
        for name, value in self.saved.items():
            kind = frame.read_register(name).type
            unsigned = gdb.Value(value).cast(gdb.lookup_type("unsigned long"))
            info.add_saved_register(name, unsigned.cast(kind))
        return info


PARKED = Parked()
gdb.unwinder.register_unwinder(None, PARKED, True)


def frame_text(frame):
    place = frame.find_sal()
    where = f" at {place.symtab.filename}:{place.line}" if place.symtab else f" ({hex(frame.pc())})"
    return (frame.name() or "??") + where


def print_stack(task):
    if is_running(task):
        return print("it runs: bt")
    if not task["has_run"]:
        return print("it has not run yet")
    PARKED.saved = registers(task)
    gdb.invalidate_cached_frames()
    try:
        frame = gdb.newest_frame().older()
        n = 0
        while frame and frame.is_valid() and n < FRAMES_MAX:
            print(f"#{n:<3} {frame_text(frame)}")
            if frame.name() == "task_main":
                break
            frame = frame.older()
            n += 1
    finally:
        PARKED.saved = None
        gdb.invalidate_cached_frames()


class Tractor(gdb.Command):
    """Tasks of a program on libtractor."""

    def __init__(self):
        super().__init__("tractor", gdb.COMMAND_STACK, prefix=True)


class Tasks(gdb.Command):
    """tractor tasks: all tasks, and what each waits for."""

    def __init__(self):
        super().__init__("tractor tasks", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        print(f"{'ID':>6}  {'OF':>6}  {'STATE':8}  {'NAME':24}  WAITS FOR")
        for t in tasks():
            print(f"{int(t['id']):6}  {parent(t):>6}  {state(t):8}  {t['name'].string():24}  {waits_for(t)}".rstrip())


class Backtrace(gdb.Command):
    """tractor bt ID|all: where a parked task stands."""

    def __init__(self):
        super().__init__("tractor bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        chosen = [t for t in tasks() if argument in ("all", str(int(t["id"])))]
        if not chosen:
            fail("tractor bt ID|all: no such task")
        for t in chosen:
            print(f"task {int(t['id'])} \"{t['name'].string()}\" {state(t)} {waits_for(t)}".rstrip())
            print_stack(t)


Tractor()
Tasks()
Backtrace()
