"""Teaches tlslite-ng, at run time, to send dane_clientid where it belongs and where it does not, and to tell what it received.

Extensions are given as lists of extension_data in hexadecimal: an empty list sends none, two elements send the extension twice.
"""

import json
import os

from tlslite import messages, tlsconnection
from tlslite.api import HandshakeSettings, X509CertChain, parsePEMKey
from tlslite.constants import AlertDescription, CipherSuite, ExtensionType
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


def settings(options):
    """Settings for one version of TLS, and tlslite-ng's own by name. Certificate compression is off: it would be used unasked."""
    settings = HandshakeSettings()
    settings.certificate_compression_send = []
    settings.certificate_compression_receive = []
    settings.minVersion = settings.maxVersion = {"1.1": (3, 2), "1.2": (3, 3), "1.3": (3, 4)}[options["tls"]]
    for name, value in options.get("settings", {}).items():
        setattr(settings, name, value)
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
    """Puts extensions on the first and second entry of each Certificate message that is sent."""
    create = messages.Certificate.create

    def patched(self, *args, **kwargs):
        create(self, *args, **kwargs)
        for entry, values in zip(self.certificate_list, [first, second]):
            entry.extensions = list(entry.extensions) + extensions.make(values)
        return self

    messages.Certificate.create = patched


def add_to(message, extensions, values, condition=lambda message: True):
    """Puts extensions before those of a hello or request when it is written: pre_shared_key has to stay last."""
    write = message.write

    def patched(self):
        # A ClientHello is written more than once: for its padding, and for the transcript.
        if condition(self) and not extensions.found(self.extensions):
            self.extensions = extensions.make(values) + list(self.extensions or [])
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


def certificates(message):
    """Each certificate of a Certificate message with its extensions; TLS 1.2 has none of those."""
    if message.certificate_list:
        return [(entry.certificate, entry.extensions) for entry in message.certificate_list]
    return [(each, []) for each in message.cert_chain.x509List] if message.cert_chain else []


def spoil_certificate_verify():
    """Flips the last bit of the signature, which leaves its encoding whole."""
    create = messages.CertificateVerify.create

    def patched(self, signature, scheme):
        signature = bytearray(signature)
        signature[-1] ^= 1
        return create(self, signature, scheme)

    messages.CertificateVerify.create = patched


def no_renegotiation_info():
    """Leaves the signalling suite of RFC 5746 out of ClientHellos."""
    write = messages.ClientHello.write

    def patched(self):
        self.cipher_suites = [s for s in self.cipher_suites if s != CipherSuite.TLS_EMPTY_RENEGOTIATION_INFO_SCSV]
        return write(self)

    messages.ClientHello.write = patched


def log_secrets(path):
    """Writes the secrets of TLS 1.3 in the format of SSLKEYLOGFILE."""
    labels = {
        b"c hs traffic": "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        b"s hs traffic": "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        b"c ap traffic": "CLIENT_TRAFFIC_SECRET_0",
        b"s ap traffic": "SERVER_TRAFFIC_SECRET_0",
    }
    randoms = []
    derive = tlsconnection.derive_secret

    def patched(secret, label, *rest):
        derived = derive(secret, label, *rest)
        if bytes(label) in labels:
            with open(path, "a", encoding="ascii") as file:
                print(labels[bytes(label)], randoms[-1], bytes(derived).hex(), file=file)
        return derived

    after_parse(messages.ClientHello, lambda hello: randoms.append(bytes(hello.random).hex()))
    tlsconnection.derive_secret = patched


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
