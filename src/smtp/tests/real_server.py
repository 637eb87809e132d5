"""A relay for the tests: aiosmtpd on a free port of 127.0.0.1. Prints its port, then a line of JSON for each message.

Usage: real_server.py plain|starttls|tls [CERTIFICATE KEY]. Signing in is required with TLS: ann, hunter2.
"""

import asyncio
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Printer:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        # Not through the pipe: a long message would fill it while nobody reads.
        file = pathlib.Path(__file__).with_name(f"{self.count}.eml")
        file.write_bytes(envelope.original_content)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "options": envelope.mail_options,
            "user": getattr(session, "signed_in_as", None),
            "encrypted": session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
            "file": str(file),
        }), flush=True)
        return f"250 2.0.0 Ok: queued as {self.count}"


def authenticate(server, session, envelope, mechanism, auth):
    good = isinstance(auth, LoginPassword) and (auth.login, auth.password) == (b"ann", b"hunter2")
    session.signed_in_as = f"{mechanism} {auth.login.decode()}" if good else None
    return AuthResult(success=good, handled=good)


async def main():
    mode = sys.argv[1]
    context = None
    if mode != "plain":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
    printer = Printer()

    def protocol():
        return SMTP(
            printer,
            enable_SMTPUTF8=True,
            data_size_limit=10_000_000,
            authenticator=authenticate,
            auth_required=mode == "tls",
            auth_require_tls=mode == "starttls",
            tls_context=context if mode == "starttls" else None,
        )

    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
