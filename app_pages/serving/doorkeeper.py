"""Who may ask the app: whoever names this machine, from a page of the app itself and, where a token guards it, with the token.

A page of a stranger that makes its name point to this machine (DNS rebinding) bears that name in the Host header, and a stranger's page that asks across sites
bears it in Origin; both are refused before Streamlit sees them, over HTTP and for the websocket alike.
"""

import hashlib
import hmac
from urllib.parse import quote, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personascope.app_pages.serving.addresses import Door

REFUSED = 403
PARAMETER = "token"
POLICY_VIOLATED = 1008  # the code of a websocket that is closed for what it asked
# What a page may load and whom it may tell: the app itself. Streamlit would fetch the icon of a page from its maker, and hostile text might name a picture.
OWN_ONLY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


class Doorkeeper:
    """ASGI middleware: passes on what may come in by `door`, and answers anything else with one sentence and 403."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one websocket, or the server's own start and end."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        refusal = self._refusal(asked)
        if refusal is None and self._door.token and not self._has_cookie(asked):
            if scope["type"] == "http" and self._is_token(asked.query_params.get(PARAMETER, "")):
                await self._with_cookie(asked)(scope, receive, send)
                return
            refusal = "a token guards this app; open the address that `personascope app` printed, with ?token= at its end"
        if refusal is None:
            await self._app(scope, receive, _confined(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATED, "reason": ""})
        else:
            headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
            await PlainTextResponse(f"personascope: {refusal}\n", REFUSED, headers)(scope, receive, send)

    def _refusal(self, asked: HTTPConnection) -> str | None:
        hosts = asked.headers.getlist("host")
        reached = (asked.scope.get("server") or ("",))[0]
        if len(hosts) != 1 or not self._door.answers_to(hosts[0], reached):
            return "this app is not known by the name it was asked for (Host header); `personascope app --allow-host NAME` adds one"
        if not all(self._door.is_own_page(origin, hosts[0]) for origin in asked.headers.getlist("origin")):
            return "a page of another site asked (Origin header); this app answers its own pages only"
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._door.token.encode())

    def _has_cookie(self, asked: HTTPConnection) -> bool:
        return hmac.compare_digest(asked.cookies.get(_cookie(asked.scope), "").encode(), self._proof.encode())

    @property
    def _proof(self) -> str:
        """What the cookie holds: made from the token, which it does not tell."""
        return hmac.new(self._door.token.encode(), b"personascope", hashlib.sha256).hexdigest()

    def _with_cookie(self, asked: HTTPConnection) -> RedirectResponse:
        """The same address without the token, so that it stays in no history and no link, and the cookie that takes its place."""
        rest = [(name, value) for name, value in asked.query_params.multi_items() if name != PARAMETER]
        address = quote("/" + asked.scope["path"].lstrip("/\\")) + (f"?{urlencode(rest)}" if rest else "")
        response = RedirectResponse(address, 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
        secure = asked.url.scheme == "https"
        response.set_cookie(_cookie(asked.scope), self._proof, httponly=True, secure=secure, samesite="lax")
        return response


def _confined(send: Send) -> Send:
    """As `send`, with the header by which a browser keeps the page to what the app itself serves."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"content-security-policy", OWN_ONLY.encode()), (b"referrer-policy", b"same-origin")]
        await send(message)

    return sent


def _cookie(scope: Scope) -> str:
    """The cookie's name: browsers keep one jar for all ports of a machine, and two apps may run there."""
    return f"personascope-{(scope.get('server') or ('', 0))[1]}"
