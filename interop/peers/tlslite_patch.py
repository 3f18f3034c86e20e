"""Teaches tlslite-ng, at run time, to send dane_clientid where it belongs and where it does not, and to tell what it received.

Extensions are given as lists of extension_data in hexadecimal: an empty list sends none, two elements send the extension twice.
"""

import json
import os

from tlslite import messages
from tlslite.api import HandshakeSettings, X509CertChain, parsePEMKey
from tlslite.constants import AlertDescription, ExtensionType
from tlslite.errors import BaseTLSException, TLSLocalAlert, TLSRemoteAlert
from tlslite.extensions import TLSExtension

# RFC 9846 section 4.2.3: the random of a ServerHello that is a HelloRetryRequest.
HELLO_RETRY_REQUEST = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


class Extensions:
    """Makes and recognises the extension of one code point."""

    def __init__(self, code_point):
        self.code_point = code_point

    def make(self, values):
        return [TLSExtension(extType=self.code_point).create(bytearray.fromhex(value)) for value in values]

    def found(self, extensions):
        return [bytes(e.extData).hex() for e in extensions or [] if e.extType == self.code_point]


def settings(tls):
    """Settings for one version of TLS. Certificate compression is off: tlslite-ng would use it unasked."""
    settings = HandshakeSettings()
    settings.certificate_compression_send = []
    settings.certificate_compression_receive = []
    settings.minVersion = settings.maxVersion = {"1.2": (3, 3), "1.3": (3, 4)}[tls]
    return settings


def credential(options):
    """Chain and key, or neither."""
    if "certificate" not in options:
        return None, None
    chain = X509CertChain()
    with open(options["certificate"], encoding="ascii") as file:
        chain.parsePemList(file.read())
    with open(options["key"], encoding="ascii") as file:
        key = parsePEMKey(file.read(), private=True)
    return chain, key


def add_to_certificate_entries(extensions, first, second):
    """Puts extensions on the first and second entry of the one Certificate message that this process sends."""
    create = messages.CertificateEntry.create
    values = iter([first, second])

    def patched(self, certificate, entry_extensions):
        return create(self, certificate, list(entry_extensions) + extensions.make(next(values, [])))

    messages.CertificateEntry.create = patched


def add_to(message, extensions, values, condition=lambda message: True):
    """Appends extensions to a hello or request when it is written."""
    write = message.write

    def patched(self):
        # A ClientHello is written more than once: for its padding, and for the transcript.
        if condition(self) and not extensions.found(self.extensions):
            self.extensions = list(self.extensions or []) + extensions.make(values)
        return write(self)

    if values:
        message.write = patched


def after_parse(message, record):
    """Calls `record` with each message of this kind that was received."""
    parse = message.parse

    def patched(self, parser):
        result = parse(self, parser)
        record(self)
        return result

    message.parse = patched


def spoil_certificate_verify():
    """Flips the last bit of the signature, which leaves its encoding whole."""
    create = messages.CertificateVerify.create

    def patched(self, signature, scheme):
        signature = bytearray(signature)
        signature[-1] ^= 1
        return create(self, signature, scheme)

    messages.CertificateVerify.create = patched


def no_empty_compress_certificate():
    """tlslite-ng asks for compression by an empty list of algorithms, which no peer can decode."""
    create = messages.CertificateRequest.create

    def patched(self, *args, extensions=None, **kwargs):
        kept = [e for e in extensions or [] if e.extType != ExtensionType.compress_certificate]
        return create(self, *args, extensions=kept, **kwargs)

    messages.CertificateRequest.create = patched


def alert(error):
    """An alert as the tests want to see it."""
    return {
        "alert": AlertDescription.toStr(error.description),
        "by": "peer" if isinstance(error, TLSRemoteAlert) else "us",
        "message": getattr(error, "message", None),
    }


ALERTS = (TLSRemoteAlert, TLSLocalAlert)
FAILURES = (OSError, BaseTLSException)


def report(value):
    print(json.dumps(value), flush=True)


def forked(function, argument):
    """Calls a function in a process of its own, so that what it patches stays there, and gives its result."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        with os.fdopen(writing, "w", encoding="ascii") as pipe:
            json.dump(function(argument), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="ascii") as pipe:
        result = json.load(pipe)
    os.wait()
    return result
