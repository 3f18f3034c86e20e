"""Look-ups through libunbound, timed. Orders in JSON, one on each line of standard input: {"forget": true}, or server (ADDRESS@PORT),
anchor (a record), names (pairs of a name and how many times), anew (by a new context each time). The answer: microseconds of the clock
and of the processor. A call through ctypes costs two of them or three.
"""

import ctypes
import json
import os
import sys
import time
from ctypes import POINTER, byref, c_char_p, c_int, c_void_p

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop", "peers"))
from libunbound import CLASS_IN, TLSA, Result, load  # noqa: E402

library = load()
OPTIONS = {"do-not-query-localhost": "no", "trust-anchor-signaling": "no", "module-config": "validator iterator"}


def make(server, anchor):
    context = library.ub_ctx_create()
    for option, value in OPTIONS.items():
        assert not library.ub_ctx_set_option(context, f"{option}:".encode(), value.encode())
    assert not library.ub_ctx_set_fwd(context, server.encode())
    assert not library.ub_ctx_add_ta(context, anchor.encode())
    return context


def ask(context, name):
    pointer = POINTER(Result)()
    assert not library.ub_resolve(context, name, TLSA, CLASS_IN, byref(pointer))
    secure = pointer.contents.secure
    library.ub_resolve_free(pointer)
    assert secure, name


def main():
    kept = None
    for line in sys.stdin:
        order = json.loads(line)
        if "forget" in order:
            if kept:
                library.ub_ctx_delete(kept)
            kept = None
            print("{}", flush=True)
            continue
        names = [(name.encode(), times) for name, times in order["names"]]
        server, anchor, anew = order["server"], order["anchor"], order["anew"]
        if not anew and kept is None:
            kept = make(server, anchor)
        clock, processor = time.perf_counter(), time.process_time()
        for name, times in names:
            for _ in range(times):
                if anew:
                    context = make(server, anchor)
                    ask(context, name)
                    library.ub_ctx_delete(context)
                else:
                    ask(kept, name)
        took = {
            "clock": (time.perf_counter() - clock) * 1e6,
            "processor": (time.process_time() - processor) * 1e6,
        }
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
