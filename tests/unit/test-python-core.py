#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Python client's protocol core: lines, errors, calls, dialogs and their ends.

usage: test-python-core.py SOURCE-ROOT"""
import ast
import asyncio
import os
import sys

ROOT = sys.argv[1]
PACKAGE = os.path.join(ROOT, "contrib/python")
sys.dont_write_bytecode = True
sys.path.insert(0, PACKAGE)

from python_pair import Pair, fails  # noqa: E402
from tractor import errors, wire  # noqa: E402
from tractor.actor import Actor  # noqa: E402
from tractor.core import CANCEL_GRACE, EXIT_GRACE, HELLO_GRACE, OPEN_CALLS, TELLS, Machine  # noqa: E402
from tractor.dialog import NOTHING, WINDOW, WINDOW_BYTES, Served  # noqa: E402
from tractor.events import CancelActor, Closed, Complaint, PeerExited, Tell  # noqa: E402


# --- lines -------------------------------------------------------------------------------------------------------------

def test_lines_are_checked():
    for bad in (b'{"a":1,"a":2}', b'{"a":NaN}', b"[Infinity]", b"[1e999]", b'{"a\\u0000":1}', b'["\\ud800"]', b'["\xc0\xaf"]',
                b'["\xed\xa0\x80"]', b'["\x01"]', b"[9223372036854775808]", b"[-9223372036854775809]", b"[1] x", b"",
                b"[" * 65 + b"]" * 65, b"[" * 100000, b"[" + b"9" * 100000 + b"]", b"[01]", b"{'a':1}"):
        fails(wire.LineError, wire.decode, bad)
    assert wire.decode(b"[9223372036854775807,-9223372036854775808]") == [2**63 - 1, -(2**63)]
    assert wire.decode(b'["\\ud83d\\ude00"]') == ["\U0001f600"]
    assert wire.decode(b"[" * 64 + b"]" * 64)
    assert len(wire.decode(b"[" + b"0," * 65534 + b"0]")) == 65535
    fails(wire.LineError, wire.decode, b"[" + b"0," * 65535 + b"0]")
    fails(wire.LineError, wire.decode, b"[" + b"{}," * 65535 + b"{}]")
    for bad in (2**63, {"a": [float("nan")]}, "\ud800", {1: 2}, {"\0": 1}, set(), [[]] * 70000):
        fails((ValueError, TypeError), wire.encode, bad)
    fails(ValueError, wire.encode, "x" * 100, 100)


def test_line_ends_and_bounds():
    for cut in range(1, 14):
        s, got = wire.Splitter(5), []
        data = b"\n\r\n12345\r\n1\n  \n12345\n123"
        for i in range(0, len(data), cut):
            s.feed(data[i:i + cut])
            got += list(s.lines())
        assert got == [b"12345", b"1", b"12345"], got
        s.feed(b"4567")
        fails(wire.StreamError, list, s.lines())


def test_descriptors_go_to_the_lines_that_declare_them():
    def lines(*recvs):
        s, got = wire.Splitter(), []
        for data, fds in recvs:
            s.feed(data, fds)
            for line in s.lines():
                got.append(s.claim(int(line)))
        return got

    assert lines((b"0\n2\n", [7, 8]), (b"1\n", [9])) == [[], [7, 8], [9]]
    assert lines((b"0\n0", [7, 8]), (b"2\n", [])) == [[], [7, 8]]  # their line ends later
    assert lines((b"0", [7]), (b"3\n", [8, 9])) == [[7, 8, 9]]
    fails(wire.StreamError, lines, (b"0\n1\n", [7, 8]))
    fails(wire.StreamError, lines, (b"0\n", [7]), (b"1\n", []))
    fails(wire.StreamError, lines, (b"1\n", []))
    fails(wire.StreamError, lines, (b"0", list(range(33))))
    fails(wire.StreamError, lines, (b"17\n", list(range(17))))
    output = wire.Output()
    for line, fds in ((b"a\n", []), (b"b\n", [1]), (b"c\n", []), (b"d\n", [2])):
        output.put(line, fds)
    assert output.get().data == b"a\n" and output.sent(2) == []
    assert output.get().data == b"b\nc\n" and output.sent(1) == [1] and output.sent(3) == []
    assert output.get().fds == [2] and output.drop() == [2] and output.get() is None


# --- errors ------------------------------------------------------------------------------------------------------------

def test_errors_are_exceptions():
    codes = {-32700, -32600, -32601, -32602, -32603, -32800, *range(-32015, -32000)}
    assert set(errors.BY_CODE) == codes
    for code, kind in errors.BY_CODE.items():
        error = errors.from_object({"code": code, "message": "m", "data": {"type": "X", "relay": ["/a"], "errno": 2}})
        assert type(error) is kind and error.code == code and error.type == "X" and error.relay == ["/a"]
        assert error.to_object()["data"] == {"type": "X", "relay": ["/a"], "errno": 2} and error.errno == 2
    died = errors.from_object({"code": -32003, "message": "", "data": {"exit": {"signal": "SIGKILL", "cause": "signal", "x": 1}}})
    assert died.exit.signal == "SIGKILL" and died.exit.code is None and "SIGKILL" in str(died.exit)
    group = errors.from_object({"code": -32013, "message": "2", "data": {"causes": [{"code": -32001, "data": {"type": "V"}},
                                                                                   {"code": 5, "message": "?"}]}})
    assert [c.type for c in group.causes] == ["V", "RemoteError"] and group.causes[1].code == 5
    for odd in ({}, {"code": "x", "data": 3}, {"code": True, "message": None}):
        assert isinstance(errors.from_object(odd), errors.RemoteError)
    try:
        {}["k"]
    except KeyError as error:
        wrapped = errors.from_exception(error)
    assert wrapped.code == -32001 and wrapped.type == "KeyError" and wrapped.backtrace


# --- calls -------------------------------------------------------------------------------------------------------------

def test_calls_and_parity():
    p = Pair()
    a, b = p.client.call("one", {"x": 1}), p.client.call("two")
    c = p.server.call("three")
    seen = p.run()[1]
    one, two = [e for e in seen if isinstance(e, Served)]
    assert (one.id, two.id, c.id) == (1, 3, 2) and one.params == {"x": 1} and two.params is None
    two.respond([2])
    one.fail(KeyError("k"))
    p.run()
    assert b.result == [2] and a.error.type == "KeyError" and isinstance(a.error, errors.RemoteError)
    fails(errors.InvalidRequest, one.respond)
    assert not c.done
    fails(TypeError, p.client.call, "x", 5)
    fails(ValueError, p.client.call, "x", [2**70])
    fails(ValueError, p.client.call, "x", ["x" * (1 << 20)])
    for _ in range(OPEN_CALLS):
        p.client.call("x")
    fails(errors.MailboxFull, p.client.call, "x")


def test_nothing_of_ours_goes_to_a_peer_without_hello():
    p = Pair(hello=(True, False))
    plain = p.client.call("plain", deadline=5.0, trace="00-1")
    held = p.client.call("keyed", key="k")
    after = p.client.call("after")
    seen = [e for e in p.run()[1] if isinstance(e, Served)]
    assert [s.method for s in seen] == ["plain"] and seen[0].meta == {}
    assert p.client.timeout() == p.clock.now + HELLO_GRACE
    p.clock.now += HELLO_GRACE
    p.client.tick()
    seen += [e for e in p.run()[1] if isinstance(e, Served)]
    assert isinstance(held.error, errors.Unsupported) and [s.method for s in seen] == ["plain", "after"]
    assert fails(errors.Unsupported, lambda: (_ for _ in ()).throw(p.client.open("d").error))
    after.cancel()
    assert after.done and after.error.abandoned and after.error.canceller == "/c"
    for _ in range(TELLS + 1):
        assert p.client.tell("t")
    p.clock.now += 5.0
    p.client.tick()
    assert isinstance(plain.error, errors.DeadlineExceeded)
    for s in seen:
        s.respond(1)  # late, and dropped in silence
    p.run()
    said = p.said(p.client)
    assert said.count('"$/') == 1 and '"$/hello"' in said and '"$":' not in said, said
    # The other way round: the server learns that the client is plain.
    q = Pair(hello=(False, True))
    q.client.call("x")
    q.run()[1][0].respond()
    q.server.tell("note")
    q.run()
    assert '"$' not in q.said(q.server)


def test_held_requests_keep_their_order():
    p = Pair()
    calls = [p.client.call("a", key="1"), p.client.call("b"), p.client.open("c"), p.client.call("d")]
    assert '"a"' not in p.said(p.client)
    assert [e.method for e in p.run()[1] if isinstance(e, Served)] == ["a", "b", "c", "d"]
    assert [c.id for c in calls] == [1, 3, 5, 7]


def test_a_connection_that_was_handed_over():
    hello = {"protocol": "tractor/1", "max_line": 4000}
    client = Machine(connector=True, hello={}, last_id=7, peer_hello=hello)
    server = Machine(connector=False, hello={}, last_id=7, peer_hello={"max_line": 4000})
    call = client.open("d")
    served = server.receive(client.output.get().data)[0]
    assert call.id == served.id == 9 and served.meta["ctx"]
    served.start()
    assert client.receive(server.output.get().data) == [call] and call.started
    fails(ValueError, client.call, "x", ["y" * 4000])
    assert server.receive(b'{"jsonrpc":"2.0","method":"$/next","params":{"id":7,"value":0}}\n') == []  # of before: late
    assert server.output.get().data.count(b"\n") == 1


def test_versions():
    m = Machine(connector=False, hello={})
    closed = m.receive(b'{"jsonrpc":"2.0","method":"$/hello","params":{"protocol":"tractor/2"}}\n')[-1]
    assert isinstance(closed, Closed) and m.closing and b"-32010" in m.output.get().data
    m = Machine(connector=False, hello={})
    m.receive(b'{"jsonrpc":"2.0","method":"$/hello","params":{"protocol":"tractor/1.7","max_line":300}}\n')
    assert m.peer_hello and not m.closed
    fails(ValueError, m.call, "x", ["y" * 300])


def test_descriptors_both_ways():
    p = Pair()
    call = p.client.call("give", fds=[101, 102])
    served = p.run()[1][-1]
    assert served.fds == [101, 102]
    served.respond({}, [103])
    p.run()
    assert call.fds == [103]
    p.client.receive(b'{"jsonrpc":"2.0","method":"x"}\n', [104])
    assert isinstance(p.client.closed, errors.ConnectionLost) and p.client.refuse_fds == [104]


# --- dialogs -----------------------------------------------------------------------------------------------------------

def test_started_then_result():
    p = Pair()
    call = p.client.open("d")
    served = p.run()[1][-1]
    fails(errors.InvalidRequest, served.send, 1)
    fails(errors.InvalidRequest, served.respond, 1)
    served.start(11)
    fails(errors.InvalidRequest, served.start, 12)
    served.respond("yo")
    p.run()
    call.cancel()
    assert (call.value, call.result, call.error) == (11, "yo", None)
    fails(errors.InvalidRequest, p.client.call("x").send, 1)


def test_window_and_waiting():
    p = Pair()
    call, served = p.opened()
    assert all(served.send(i) for i in range(WINDOW))
    assert not served.send("too much")
    p.run()
    assert [call.take() for _ in range(WINDOW // 2 - 1)] == list(range(WINDOW // 2 - 1))
    p.run()
    assert not served.send("still too much")  # credit comes in batches
    call.take()
    events = p.run()[1]
    assert served in events and served.send(64)
    assert all(call.send(i) for i in range(WINDOW)) and not call.send(0)
    # Few large items fill a window, too, and are given back sooner.
    q = Pair()
    call, served = q.opened()
    sent = 0
    while served.send("x" * 900_000):
        sent += 1
    q.run()
    assert sent == 5 and served.out.under_way_bytes >= WINDOW_BYTES and len(call.incoming.items) == 5
    assert call.take() and served in q.run()[1] and '"n":1' in q.said(q.client)
    assert served.send("x") and q.run() and all(call.take() for _ in range(5))
    q.run()
    # Who sends more is told so, and what was too much is dropped.
    for _ in range(6):
        q.client.receive(b'{"jsonrpc":"2.0","method":"$/next","params":{"id":1,"value":"%s"}}\n' % (b"x" * 900_000))
    q.run()
    assert "-32600" in q.said(q.client) and call.incoming.bytes < WINDOW_BYTES + 900_100 and not call.done


def test_overrun_policies():
    p = Pair()
    call, served = p.opened(window=2, overrun="drop_oldest")
    for i in range(WINDOW + 12):
        assert served.send(i)
    p.run()
    assert [call.take(), call.take(), call.take()] == [0, 1, NOTHING] and call.lost == 0
    got = []
    while p.run() and len(got) < WINDOW:
        got.append(call.take())
    assert got == list(range(12, WINDOW + 12)) and call.lost == 10
    served.respond("end")
    p.run()
    assert call.result == "end"
    call, served = p.opened(window=1, overrun="drop_oldest")
    for _ in range(20):
        assert served.send("x" * 500_000)
    assert served.out.bytes <= WINDOW_BYTES
    call, served = p.opened(window=1, overrun="error")
    assert served.send(1)
    fails(errors.Overrun, served.send, 2)
    p.run()
    assert call.take() == 1 and call.ended and isinstance(call.error, errors.Overrun)
    fails(ValueError, p.client.open, "d", overrun="perhaps")
    fails(ValueError, p.client.open, "d", window=0)


def test_half_close():
    p = Pair()
    call, served = p.opened()
    served.send(1)
    served.stop()
    p.run()
    assert not call.ended and call.take() == 1 and call.ended and not call.done
    fails(errors.InvalidRequest, served.send, 2)
    assert call.send("up")
    call.stop()
    call.stop()
    p.run()
    assert served.take() == "up" and served.ended
    served.respond(3)
    p.run()
    assert call.result == 3 and p.client.idle and p.server.idle


def test_cancel():
    p = Pair()
    call, served = p.opened()
    call.cancel("why")
    call.cancel("again")
    assert served in p.run()[1] and served.cancelled.canceller == "/c" and served.cancelled.data["reason"] == "why"
    served.fail(errors.Cancelled())
    p.run()
    assert isinstance(call.error, errors.Cancelled) and call.error.canceller == "/c" and not call.error.abandoned
    # The callee's own error is not masked, and a result made before wins.
    for end, check in ((lambda s: s.fail(OSError(5, "io")), lambda c: c.error.errno == 5),
                       (lambda s: s.respond("yo"), lambda c: c.result == "yo")):
        call, served = p.opened()
        call.cancel()
        p.run()
        end(served)
        p.run()
        assert check(call)
    # A result that waits for credit was made before.
    call, served = p.opened(window=1, overrun="drop_oldest")
    assert all(served.send(i) for i in range(5))
    served.respond("made")
    p.run()
    assert not call.done
    call.cancel()
    p.run()
    assert call.result == "made"
    # Nobody answers.
    call, served = p.opened()
    call.cancel()
    p.clock.now += CANCEL_GRACE
    assert call in p.client.tick() and call.error.abandoned
    served.fail(ValueError())
    p.run()
    assert not p.client.closed and "-32600" not in p.said(p.client)


def test_who_cancelled_is_believed_of_the_supervisor_alone():
    ask = b'{"jsonrpc":"2.0","id":1,"method":"m"}\n{"jsonrpc":"2.0","method":"$/cancel","params":{"id":1,"canceller":"/x"}}\n'
    assert Machine(connector=False, peer="/p").receive(ask)[1].cancelled.canceller == "/p"
    assert Machine(connector=False, peer="/p", trusted=True).receive(ask)[1].cancelled.canceller == "/x"
    whole = b'{"jsonrpc":"2.0","method":"$/cancel","params":{"id":null,"canceller":"/x","grace_ms":5}}\n'
    assert Machine(connector=True, channel=True, trusted=True).receive(whole) == [CancelActor(None, "/x", 5)]
    other = Machine(connector=False)
    assert other.receive(whole) == [] and b"-32600" in other.output.get().data


def test_deadlines():
    p = Pair()
    p.run()
    call = p.client.call("slow", deadline=2.0)
    served = p.run()[1][-1]
    assert served.meta["deadline_ms"] == 2000 and p.client.timeout() == p.server.timeout() == 1002.0
    p.clock.now += 2.0
    assert served in p.server.tick() and isinstance(served.cancelled, errors.DeadlineExceeded)
    assert call in p.client.tick() and isinstance(call.error, errors.DeadlineExceeded)
    served.fail(errors.Cancelled())
    p.run()
    assert p.client.idle and p.server.idle and p.client.timeout() is None
    assert "-32007" in p.said(p.server) and "-32600" not in p.said(p.client)


def test_tells_have_credit():
    p = Pair()
    p.run()
    assert all(p.client.tell("t", [i]) for i in range(TELLS)) and not p.client.tell("t")
    tells = [e for e in p.run()[1] if isinstance(e, Tell)]
    assert [t.params for t in tells] == [[i] for i in range(TELLS)]
    for t in tells:
        t.taken()
    p.run()
    assert p.client.tell("t")


def test_ends():
    exit = {"signal": "SIGKILL", "cause": "signal"}
    p = Pair()
    call, other = p.opened()[0], p.client.call("x")
    p.run()
    p.client.receive(b'{"jsonrpc":"2.0","id":3,"resu\n'
                     b'{"jsonrpc":"2.0","method":"$/peer_exited","params":{"path":"/s","exit":{"signal":"SIGKILL"}}}\n')
    assert call.error.exit.signal == "SIGKILL" and isinstance(other.error, errors.ActorDied)
    fails(errors.ActorDied, p.client.call, "x")
    # Told elsewhere, within a second of the EOF; or not.
    for told in (True, False):
        p = Pair(waits_for_exit=True)
        call, served = p.opened()
        assert p.client.eof() == [] and p.client.timeout() == p.clock.now + EXIT_GRACE
        if told:
            events = p.client.peer_exited(exit)
        else:
            p.clock.now += EXIT_GRACE
            events = p.client.tick()
        assert isinstance(call.error, errors.ActorDied if told else errors.ConnectionLost) and isinstance(events[-1], Closed)
        assert isinstance(events[0], PeerExited) == told
        events = p.server.eof()
        assert served in events and served.done and served.cancelled
        fails(errors.Cancelled, served.send, 1)
        served.fail(ValueError())
    # On the supervisor's connection it is about somebody else.
    m = Machine(connector=True, trusted=True)
    events = m.receive(b'{"jsonrpc":"2.0","method":"$/peer_exited","params":{"path":"/s","id":"i","exit":{}}}\n')
    assert events == [PeerExited("/s", "i", {})] and not m.closed


def test_broken_peers():
    def after_open(*frames):
        p = Pair()
        call = p.client.open("d", window=1)
        p.run()
        for frame in frames:
            p.client.receive(b'{"jsonrpc":"2.0",' + frame + b"}\n")
        p.lines[id(p.client)].clear()
        p.run()
        return call, p.said(p.client)

    started = b'"method":"$/started","params":{"id":1,"value":0,"credit":1,"overrun":"wait"}'
    item = b'"method":"$/next","params":{"id":1,"value":0}'
    stop = b'"method":"$/stop","params":{"id":1}'
    for frames in ((started, started), (item,), (stop,), (started, stop, stop), (started, stop, item),
                   (b'"method":"$/started","params":{"id":1,"credit":-1}',),
                   (b'"method":"$/started","params":{"id":1,"overrun":1}',),
                   (started, b'"method":"$/next","params":{"id":1}',)):
        call, said = after_open(*frames)
        assert isinstance(call.error, errors.InvalidRequest) and '"$/cancel"' in said, frames
    call, said = after_open(started, item, item)
    assert not call.done and len(call.incoming.items) == 1 and "-32600" in said
    assert isinstance(after_open(b'"id":1,"result":1')[0].error, errors.InvalidRequest)
    assert isinstance(after_open(b'"id":1,"error":{"code":-32004}')[0].error, errors.NoSuchActor)
    for frame in (b'"method":"$/next","params":{"id":9,"value":0}', b'"method":"$/next","params":{"id":2,"value":0}',
                  b'"id":9,"result":0', b'"method":"$/credit","params":{"id":1,"n":0}', b'"method":"$/cancel","params":{"id":7}',
                  b'"method":"$/next"', b'"id":1', b'"id":null,"method":"x"', b'"id":true,"method":"x"', b'"id":2,"method":5',
                  b'"id":4,"method":"x","params":3', b'"id":1,"result":0,"error":{}', b'"id":1,"result":0,"$":[]'):
        call, said = after_open(frame)
        assert "-32600" in said and not call.done, frame
    call, said = after_open(b'"id":null,"error":{"code":-32600,"message":"odd"}', b'"id":9,"error":5')
    assert said == "" and not call.done
    for frame, code in ((b'"id":1,"method":"x","$":{"ctx":true}', -32600), (b'"id":"a","method":"x","$":{"ctx":true}', -32600),
                        (b'"id":2,"method":"x","$":{"credit":-1,"ctx":true}', -32600),
                        (b'"id":2,"method":"x","$":{"deadline_ms":1.5}', -32600)):
        call, said = after_open(frame)
        assert str(code) in said, frame
    p = Pair()
    p.run()
    p.server.receive(b'{"jsonrpc":"2.0","id":5,"method":"x"}\n{"jsonrpc":"2.0","id":5,"method":"y"}\n'
                     b'{"jsonrpc":"2.0","id":"5","method":"z"}\n')
    assert [s.method for s in p.server._served.values()] == ["x", "z"] and b"-32600" in p.server.output.get().data
    p.server.receive(b"x" * (1 << 20) + b"yy")
    assert isinstance(p.server.closed, errors.ConnectionLost) and p.server.closing
    complaint = [e for e in p.run()[0] if isinstance(e, Complaint)]
    assert complaint and complaint[-1].error.code == -32700
    p.client.eof()
    assert "-32700" in str(p.client.closed)


def test_the_source_is_of_the_oldest_python():
    for folder, _, names in os.walk(PACKAGE):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                text = open(path, encoding="utf-8").read()
                ast.parse(text, path, feature_version=(3, 11))
                lines = text.splitlines()
                assert "SPDX-License-Identifier: Apache-2.0" in "\n".join(lines[:2]), path
                assert len(lines) <= 600 and all(len(line) <= 130 for line in lines), path


def test_what_a_program_is_for_may_be_any_awaitable():
    os.environ.pop("TRACTOR_CHANNEL_FD", None)  # by hand
    assert Actor().run(main=lambda: asyncio.gather(asyncio.sleep(0, 5))) == [5]


for name, test in list(globals().items()):
    if name.startswith("test_"):
        print(f"-- {name}", file=sys.stderr, flush=True)
        test()
