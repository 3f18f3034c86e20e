"""Validates through libunbound, with a memory of its own for each question. On each line of standard input a question in JSON: server
(ADDRESS@PORT), anchor (lines), name. On standard output a line of JSON with what libunbound says.
"""

import ctypes
import json
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_void_p

TLSA = 52
CLASS_IN = 1

OPTIONS = {
    "module-config": "validator iterator",
    "do-not-query-localhost": "no",
    "trust-anchor-signaling": "no",
    # Rules that are ours too: no allowance for clocks that are wrong, and NSEC3 with up to 100 iterations.
    "val-sig-skew-min": "0",
    "val-sig-skew-max": "0",
    "val-nsec3-keysize-iterations": "1024 100 2048 100 4096 100",
    # What is wrong stays wrong: no second try.
    "val-max-restart": "0",
    "outbound-msg-retry": "1",
    # Nothing is concluded from other answers.
    "aggressive-nsec": "no",
    "harden-below-nxdomain": "no",
    "qname-minimisation": "no",
    # Small, since it is made and thrown away for each question.
    "outgoing-range": "16",
    "outgoing-num-tcp": "2",
    "incoming-num-tcp": "2",
    "msg-cache-size": "64k",
    "rrset-cache-size": "256k",
    "key-cache-size": "64k",
    "neg-cache-size": "0",
    "infra-cache-numhosts": "100",
}


class Result(ctypes.Structure):
    """struct ub_result of libunbound.so.8."""

    _fields_ = [
        ("qname", c_char_p),
        ("qtype", c_int),
        ("qclass", c_int),
        ("data", POINTER(c_void_p)),
        ("len", POINTER(c_int)),
        ("canonname", c_char_p),
        ("rcode", c_int),
        ("answer_packet", c_void_p),
        ("answer_len", c_int),
        ("havedata", c_int),
        ("nxdomain", c_int),
        ("secure", c_int),
        ("bogus", c_int),
        ("why_bogus", c_char_p),
        ("was_ratelimited", c_int),
        ("ttl", c_int),
    ]


def load():
    library = ctypes.CDLL("libunbound.so.8")
    library.ub_ctx_create.restype = c_void_p
    library.ub_strerror.restype = c_char_p
    library.ub_ctx_delete.argtypes = [c_void_p]
    library.ub_resolve_free.argtypes = [c_void_p]
    library.ub_ctx_set_option.argtypes = [c_void_p, c_char_p, c_char_p]
    library.ub_ctx_set_fwd.argtypes = [c_void_p, c_char_p]
    library.ub_ctx_add_ta.argtypes = [c_void_p, c_char_p]
    library.ub_resolve.argtypes = [c_void_p, c_char_p, c_int, c_int, c_void_p]
    return library


def ask(library, question, verbosity):
    def check(error, what):
        if error:
            raise RuntimeError(f"{what}: {library.ub_strerror(error).decode()}")

    context = library.ub_ctx_create()
    try:
        for option, value in OPTIONS.items():
            check(library.ub_ctx_set_option(context, f"{option}:".encode(), value.encode()), option)
        if verbosity:
            library.ub_ctx_debuglevel(c_void_p(context), verbosity)
        check(library.ub_ctx_set_fwd(context, question["server"].encode()), "server")
        for record in question["anchor"]:
            check(library.ub_ctx_add_ta(context, record.encode()), "anchor")
        pointer = POINTER(Result)()
        check(library.ub_resolve(context, question["name"].encode(), TLSA, CLASS_IN, byref(pointer)), "resolve")
        result = pointer.contents
        data = []
        while result.havedata and result.data[len(data)]:
            data.append(ctypes.string_at(result.data[len(data)], result.len[len(data)]).hex())
        said = {
            "rcode": result.rcode,
            "secure": bool(result.secure),
            "bogus": bool(result.bogus),
            "nxdomain": bool(result.nxdomain),
            "data": data,
            "why": (result.why_bogus or b"").decode("utf-8", "replace"),
        }
        library.ub_resolve_free(pointer)
        return said
    finally:
        library.ub_ctx_delete(context)


def main():
    library = load()
    verbosity = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    for line in sys.stdin:
        print(json.dumps(ask(library, json.loads(line), verbosity)), flush=True)


if __name__ == "__main__":
    main()
