"""A client that sends dane_clientid as it is told to, then asks for a page. A list of connections to make one after the other, in JSON
as a line of standard input; a line of JSON for the result of each.

Options: address, tls, settings (tlslite-ng's own), extension_type, certificate, key, in_certificate, on_second, in_client_hello,
no_renegotiation_info, bad_certificate_verify, key_log (a file), path, resume: once more, by the session of the first connection,
whose result is then `first`.
"""

import json
import socket
import sys

from tlslite import messages
from tlslite.api import TLSConnection

import tlslite_patch as patch


def patched(options, result):
    """Patches what this process sends, and has what it receives told in the result."""
    extensions = patch.Extensions(options["extension_type"])

    def saw_request(message):
        result["signal"] = extensions.found(message.extensions)
        result["extensions_of_request"] = [e.extType for e in message.extensions or []]

    def saw_server_hello(message):
        result["in_server_hello"] = extensions.found(message.extensions)

    patch.after_parse(messages.CertificateRequest, saw_request)
    patch.after_parse(messages.ServerHello, saw_server_hello)
    patch.add_to(messages.ClientHello, extensions, options.get("in_client_hello", []))
    patch.add_to_certificate_entries(extensions, options.get("in_certificate", []), options.get("on_second", []))
    if options.get("no_renegotiation_info"):
        patch.no_renegotiation_info()
    if options.get("bad_certificate_verify"):
        patch.spoil_certificate_verify()
    if "key_log" in options:
        patch.log_secrets(options["key_log"])


def page(options, result, session=None):
    """One connection; gives its session."""
    host, port = options["address"].rsplit(":", 1)
    chain, key = patch.credential(options)
    connection = TLSConnection(socket.create_connection((host, int(port)), timeout=30))
    try:
        settings = patch.settings(options)
        connection.handshakeClientCert(chain, key, session=session, settings=settings, serverName="localhost")
        result["handshake"] = True
        result["resumed"] = connection.resumed
        request = f"GET {options.get('path', '/')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.write(request.encode("ascii"))
        answer = bytearray()
        while data := connection.read(max=16384, min=1):
            answer += data
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        if head:
            result["status"] = int(head.split()[1])
            result["body"] = body.decode("utf-8", "replace")
    except patch.ALERTS as error:
        result["alert"] = patch.alert(error)
    except patch.FAILURES as error:
        result["error"] = repr(error)
    return connection.session


def connect(options):
    result = {}
    patched(options, result)

    def fresh():
        result.clear()
        result.update(handshake=False, alert=None, signal=None, in_server_hello=None, extensions_of_request=[], status=None, body=None)

    fresh()
    session = page(options, result)
    if options.get("resume"):
        first = dict(result, tickets=len(session.tickets or []) if session else None)
        fresh()
        page(options, result, session)
        result["first"] = first
    return result


for each in json.loads(sys.stdin.readline()):
    patch.report(patch.forked(connect, each))
