"""Asks an ext_authz service as Envoy does, by grpcio and Envoy's published protocol (xds-protos).

Standard input, a line: {"target": "127.0.0.1:1", "questions": [{"certificate": PEM, "headers": {...}, "raw_headers": [[name, value], ...],
"body": text, "raw_body": text}, ...]}. Standard output: a line of JSON for each question.
"""

import json
import sys
import urllib.parse

import grpc
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc


def request(question):
    check = external_auth_pb2.CheckRequest()
    source = check.attributes.source
    source.address.socket_address.address = "192.0.2.7"
    source.address.socket_address.port_value = 40000
    if "certificate" in question:
        source.certificate = urllib.parse.quote(question["certificate"], safe="")
    http = check.attributes.request.http
    http.method, http.path, http.host, http.scheme, http.protocol = "POST", "/new", "app.test", "https", "HTTP/2"
    for name, value in question.get("headers", {}).items():
        http.headers[name] = value
    for name, value in question.get("raw_headers", []):
        http.header_map.headers.add(key=name, raw_value=value.encode())
    http.body = question.get("body", "")
    http.raw_body = question.get("raw_body", "").encode()
    return check


def answer(stub, question):
    try:
        response = stub.Check(request(question), timeout=60)
    except grpc.RpcError as error:
        return {"error": error.code().name}
    kind = response.WhichOneof("http_response")
    http = getattr(response, kind)
    result = {
        "code": response.status.code,
        "kind": kind,
        "headers": {option.header.key: option.header.value for option in http.headers},
        "actions": [option.append_action for option in http.headers],
    }
    if kind == "ok_response":
        result["removed"] = list(http.headers_to_remove)
    else:
        result["status"] = http.status.code
        result["body"] = http.body
    return result


def main():
    asked = json.loads(sys.stdin.readline())
    # As Envoy names its cluster; by itself grpcio would put a socket's path there, which is no authority.
    options = [("grpc.default_authority", "dance_auth")]
    with grpc.insecure_channel(asked["target"], options) as channel:
        stub = external_auth_pb2_grpc.AuthorizationStub(channel)
        for question in asked["questions"]:
            print(json.dumps(answer(stub, question)), flush=True)
        # Another service of the same port.
        other = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            other(b"", timeout=60)
            print(json.dumps({"error": None}))
        except grpc.RpcError as error:
            print(json.dumps({"error": error.code().name}))


main()
