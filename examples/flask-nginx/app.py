"""The web application. It knows nothing of TLS or DNS, and believes what nginx writes into Dane-Clientid.

That is safe because nothing but nginx can reach it (it listens on loopback), and because nginx writes the field anew on every request.
"""

from flask import Flask, abort, request

app = Flask(__name__)


@app.before_request
def known_clients_only():
    # Never the case behind nginx. Whoever comes another way is nobody.
    if not request.headers.get("Dane-Clientid"):
        abort(401)


@app.get("/")
def greet():
    return f"hello, {request.headers['Dane-Clientid']}\n"


@app.post("/messages")
def take():
    message = request.form.get("message", "")
    app.logger.warning("%s says %r", request.headers["Dane-Clientid"], message)
    return f"Thank you, {request.headers['Dane-Clientid']}, for your message.\n", 202


@app.after_request
def for_this_client_alone(response):
    response.headers["Cache-Control"] = "no-store"
    return response
