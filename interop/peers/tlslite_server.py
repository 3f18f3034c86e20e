"""A server that asks for a certificate and places dane_clientid as it is told to. Options in JSON as first argument; prints the
address it listens on, then a line of JSON for its one connection.

Options: tls, extension_type, certificate, key, signal, in_server_hello, in_hello_retry_request, in_encrypted_extensions,
in_certificate, curves, settings (tlslite-ng's own), refuse (an alert to send once the client is done), key_log (a file).
"""

import json
import socket
import sys

from tlslite import messages
from tlslite.api import TLSConnection
from tlslite.constants import AlertDescription

import tlslite_patch as patch


def main():
    options = json.loads(sys.argv[1])
    extensions = patch.Extensions(options["extension_type"])
    result = {"handshake": False, "alert": None, "entries": None, "in_client_hello": None, "request": None}

    def saw_client_hello(message):
        result["in_client_hello"] = extensions.found(message.extensions)
        result["extensions_of_client_hello"] = [e.extType for e in message.extensions or []]

    def saw_certificate(message):
        result["entries"] = [
            {"der": bytes(certificate.writeBytes()).hex(), "extension": extensions.found(its)}
            for certificate, its in patch.certificates(message)
        ]

    def is_retry(hello):
        return bytes(hello.random) == patch.HELLO_RETRY_REQUEST

    patch.after_parse(messages.ClientHello, saw_client_hello)
    if "key_log" in options:
        patch.log_secrets(options["key_log"])
    patch.after_parse(messages.Certificate, saw_certificate)
    patch.no_empty_compress_certificate()
    patch.add_to(messages.CertificateRequest, extensions, options.get("signal", []))
    patch.add_to(messages.ServerHello, extensions, options.get("in_server_hello", []), lambda hello: not is_retry(hello))
    patch.add_to(messages.ServerHello, extensions, options.get("in_hello_retry_request", []), is_retry)
    patch.add_to(messages.EncryptedExtensions, extensions, options.get("in_encrypted_extensions", []))
    patch.add_to_certificate_entries(extensions, options.get("in_certificate", []), [])

    chain, key = patch.credential(options)
    settings = patch.settings(options)
    settings.ticket_count = 0
    if "curves" in options:
        settings.eccCurves = settings.keyShares = options["curves"]
        settings.dhGroups = []
    listener = socket.create_server(("127.0.0.1", 0))
    patch.report({"listening": "127.0.0.1:%d" % listener.getsockname()[1]})
    peer, _ = listener.accept()
    peer.settimeout(30)
    connection = TLSConnection(peer)
    try:
        connection.handshakeServer(
            certChain=chain, privateKey=key, reqCert=True, settings=settings, alpn=[bytearray(b"http/1.1")]
        )
        result["handshake"] = True
        if "refuse" in options:
            description = getattr(AlertDescription, options["refuse"])
            for _ in connection._sendError(description):
                pass
        result["request"] = connection.read(max=16384, min=1).decode("ascii", "replace")
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        connection.close()
    except patch.ALERTS as error:
        result["alert"] = patch.alert(error)
    except patch.FAILURES as error:
        result["error"] = repr(error)
    patch.report(result)


main()
