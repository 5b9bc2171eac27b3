"""Three real mail servers of aiosmtpd on free loopback ports: with STARTTLS, with TLS from the start, and in the clear.

Prints one line of JSON with the ports, then one for each mail it took. Logins must be made over TLS, and only
`slo` with the password given is let in. Some recipients are special: `gone...` is refused, `later...` deferred once.
It stops when its standard input ends.
"""

import asyncio
import base64
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

CERTIFICATE, KEY, PASSWORD = sys.argv[1:]
logging.disable()


def say(**what):
    print(json.dumps(what), flush=True)


class Handler:
    def __init__(self):
        self.deferred = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone"):
            return "550 5.1.1 no such user"
        if address.startswith("later") and address not in self.deferred:
            self.deferred.add(address)
            return "451 4.2.0 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        say(
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            login=getattr(session.auth_data, "login", b"").decode(),
            tls=server.transport.get_extra_info("ssl_object") is not None,
            peer=session.peer[1],
            mail=base64.b64encode(envelope.original_content).decode(),
        )
        return "250 queued"


def authenticate(server, session, envelope, mechanism, data):
    wanted = isinstance(data, LoginPassword) and (data.login, data.password) == (b"slo", PASSWORD.encode())
    return AuthResult(success=wanted, handled=wanted, auth_data=data if wanted else None)


async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE, KEY)
    handler = Handler()
    loop = asyncio.get_running_loop()
    login = {"authenticator": authenticate, "auth_required": True}
    kinds = {
        "starttls": ({"tls_context": tls, "require_starttls": True, **login}, None),
        "tls": ({"auth_require_tls": False, **login}, tls),
        "clear": ({}, None),
    }
    ports, servers = {}, []
    for kind, (options, context) in kinds.items():
        make = lambda options=options: SMTP(handler, hostname="mail.example.com", **options)
        server = await loop.create_server(make, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        ports[kind] = server.sockets[0].getsockname()[1]
    say(**ports)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
