"""A stand-in for GitLab: the tokens of one family, as its documents and sources say it treats them.

A rotation makes a new token and kills the old one at once. A second one with a token that is dead kills
the whole family, the living one included (gitlab-org/gitlab#524639). For tests only:

  POST /-/lose          the next rotation is carried out, and its answer lost
  POST /-/make          a person makes the token that PRIVATE-TOKEN holds
  GET  /-/family        every token: its id, whether it is active, and how often it was rotated with
"""

import datetime
import http.server
import json
import os
import secrets
import threading
import urllib.parse

SELF = "/api/v4/personal_access_tokens/self"


class Family:
    def __init__(self, first):
        self.lock = threading.Lock()
        self.tokens = []
        self.lose = False
        self.add(first, datetime.timedelta(days=7))

    def add(self, value, life):
        now = datetime.datetime.now(datetime.timezone.utc)
        self.tokens.append({
            "id": len(self.tokens) + 1,
            "name": "lorectl",
            "revoked": False,
            "created_at": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "description": None,
            "scopes": ["api", "self_rotate"],
            "user_id": 1,
            "last_used_at": None,
            "active": True,
            "expires_at": (now + life).date().isoformat(),
            "token": value,
            "rotations": 0,
        })
        return self.tokens[-1]

    def find(self, value):
        return next((t for t in self.tokens if secrets.compare_digest(t["token"], value)), None)


def end(token):
    token["revoked"], token["active"] = True, False


def shown(token, *more):
    kept = [key for key in token if key not in ("token", "rotations")]
    return {key: token[key] for key in [*kept, *more]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=None):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def dead(self, token):
        if token is None:
            self.answer(401, {"message": "401 Unauthorized"})
        else:
            said = "Token was revoked. You have to re-authorize from the user."
            self.answer(401, {"error": "invalid_token", "error_description": said})

    def serve(self):
        target = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        with FAMILY.lock:
            self.route(target, urllib.parse.parse_qs(body) | urllib.parse.parse_qs(target.query))

    do_GET = do_POST = do_DELETE = serve

    def route(self, target, fields):
        what = (self.command, target.path)
        if what == ("POST", "/-/lose"):
            FAMILY.lose = True
            return self.answer(204)
        if what == ("POST", "/-/make"):
            FAMILY.add(self.headers["PRIVATE-TOKEN"], datetime.timedelta(days=7))
            return self.answer(204)
        if what == ("GET", "/-/family"):
            return self.answer(200, [shown(token, "rotations") for token in FAMILY.tokens])
        token = FAMILY.find(self.headers.get("PRIVATE-TOKEN") or "")
        if what == ("POST", SELF + "/rotate"):
            return self.rotate(token, fields)
        if token is None or not token["active"]:
            return self.dead(token)
        if what == ("GET", SELF):
            return self.answer(200, shown(token))
        if what == ("DELETE", SELF):
            end(token)
            return self.answer(204)
        return self.answer(404, {"error": "404 Not Found"})

    def rotate(self, token, fields):
        if token is not None:
            token["rotations"] += 1
        if token is None or not token["active"]:
            if token is not None:
                for each in FAMILY.tokens:
                    end(each)
            return self.dead(token)
        today = datetime.datetime.now(datetime.timezone.utc).date()
        life = datetime.timedelta(days=7)
        if "expires_at" in fields:
            try:
                life = datetime.date.fromisoformat(fields["expires_at"][0]) - today
            except ValueError:
                return self.answer(400, {"error": "expires_at is invalid"})
            if not 0 < life.days <= 400:
                return self.answer(400, {"message": "400 Bad request - Expiration date"})
        end(token)
        new = FAMILY.add("glpat-" + secrets.token_urlsafe(20), life)
        if FAMILY.lose:
            FAMILY.lose = False
            self.close_connection = True
            return None
        return self.answer(200, shown(new, "token"))


FAMILY = Family(os.environ["ISSUER_TOKEN"])
PORT = int(os.environ["ISSUER_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
