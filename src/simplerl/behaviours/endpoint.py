"""An OpenAI-compatible endpoint: one chat completion at a time. The only door of the package `openai`.

The key comes from an environment variable and goes to the client and nowhere else: it is struck out of everything that
the endpoint says before that is shown or kept.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from simplerl.core.errors import ConfigError, SimpleRLError

#: What a request holds besides model and messages, unless it is set otherwise.
PARAMETERS: dict[str, Any] = {"temperature": 0, "max_tokens": 2000}

#: Parameters that are ours to set.
RESERVED = frozenset({"model", "messages", "stream", "n"})

#: No request has more tokens: such a count is not one.
MOST_TOKENS = 10**9

_NO_KEY = "none"


class EndpointError(SimpleRLError):
    """The endpoint cannot be used as it was asked: nothing further is sent."""


class NoAnswer(Exception):
    """This request got no answer; it may be sent again another time."""


class Unreachable(NoAnswer):
    """Nobody answers at the address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back for one request."""

    text: str | None
    finish_reason: str | None
    tokens_in: int | None
    """Tokens that were paid for, as the endpoint counts them; None where it does not say."""
    tokens_out: int | None


class Endpoint:
    """A model behind an OpenAI-compatible API. May be used by several threads."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None,
        key_variable: str | None,
        parameters: Mapping[str, Any],
        timeout_s: float,
        retries: int,
    ):
        """Raises ConfigError where the package, the key or the address is missing or wrong. Sends nothing.

        `key_variable` names the environment variable with the key; None: the server needs none. Answers 408, 409, 429
        and 5xx, and broken connections, are tried again up to `retries` times, waiting longer each time or as long as
        the server says.
        """
        try:
            import openai
        except ImportError:
            raise ConfigError(
                "judging by a model needs the package openai: pip install 'simplerl[judge]'. Without --judge "
                "behaviours are found by keywords"
            ) from None
        self._openai = openai
        self._key, self._variable = _key(key_variable), key_variable
        self.model, self._parameters, self._timeout_s = model, dict(parameters), timeout_s
        _check_address(base_url)
        self._client = openai.OpenAI(
            api_key=self._key, base_url=base_url, timeout=timeout_s, max_retries=retries, organization=None
        )
        self._address = _shown(str(self._client.base_url))

    @property
    def address(self) -> str:
        """The address, without user and password."""
        return self._address

    @property
    def in_the_clear(self) -> bool:
        """Whether a key would go unencrypted to another machine."""
        parts = urlsplit(self._address)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        return parts.scheme == "http" and not local and self._key != _NO_KEY

    def ask(self, messages: Sequence[Mapping[str, str]], *, retries: int | None = None) -> Reply:
        """Return the answer to one request. Raises NoAnswer where there is none, EndpointError where asking is vain."""
        openai = self._openai
        client = self._client if retries is None else self._client.with_options(max_retries=retries)
        try:
            raw = client.chat.completions.with_raw_response.create(
                model=self.model, messages=list(messages), extra_body=self._parameters
            )
            body = raw.http_response.text
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            where = f"the key in ${self._variable}" if self._variable else "a request without a key"
            raise EndpointError(
                f"{self._address} refused {where} ({error.status_code}). Check the key, --api-key-env and --base-url"
            ) from None
        except openai.NotFoundError as error:
            raise EndpointError(
                f"{self._address} knows no model {self.model!r}, or is not the address of an OpenAI-compatible API "
                f"(it often ends with /v1): {self._said(error)}. Check --judge and --base-url"
            ) from None
        except openai.RateLimitError as error:
            if getattr(error, "code", None) == "insufficient_quota":
                raise EndpointError(f"{self._address}: the account has no credit left: {self._said(error)}") from None
            raise NoAnswer(f"429: too many requests: {self._said(error)}") from None
        except openai.APITimeoutError:
            raise NoAnswer(f"no answer within {self._timeout_s:g} s (--timeout)") from None
        except openai.APIConnectionError as error:
            reason = self.clean(str(error.__cause__ or error))
            raise Unreachable(f"{self._address} cannot be reached: {reason}") from None
        except openai.APIStatusError as error:
            raise NoAnswer(f"{error.status_code}: {self._said(error)}") from None
        except openai.OpenAIError as error:
            raise NoAnswer(self.clean(str(error))) from None
        return self._reply(body)

    def _reply(self, body: str) -> Reply:
        try:
            value = json.loads(body)
            choice = value["choices"][0]
            text, reason = choice["message"].get("content"), choice.get("finish_reason")
            usage = value.get("usage") or {}
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise NoAnswer(f"the answer is no chat completion: {self.clean(body)}") from None
        if not isinstance(text, str | None) or not isinstance(reason, str | None):
            raise NoAnswer(f"the answer is no chat completion: {self.clean(body)}")
        tokens_in, tokens_out = (n if type(n) is int and 0 <= n < MOST_TOKENS else None for n in counts)
        return Reply(
            text=None if text is None else self._without_key(text),
            finish_reason=None if reason is None else self.clean(reason),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
        )

    def _said(self, error: Any) -> str:
        body = error.body
        said = body.get("message") if isinstance(body, dict) else None
        return self.clean(said if isinstance(said, str) else str(error.message))

    def clean(self, text: str) -> str:
        """Return a line of what the endpoint said that is safe to show: no key, no control characters, cut."""
        line = " ".join(self._without_key(text).split())
        return "".join(c if c.isprintable() else "·" for c in line)[:300]

    def _without_key(self, text: str) -> str:
        # What is shorter is no secret, and would be struck out of ordinary words.
        return text.replace(self._key, "***") if len(self._key) >= 8 else text


def _key(variable: str | None) -> str:
    if variable is None:
        return _NO_KEY
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
        # What was given may be the key itself: it is not repeated.
        raise ConfigError(
            "--api-key-env takes the name of an environment variable, in capitals (such as OPENAI_API_KEY), never the "
            "key itself"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {variable} holds no key: export it, name another with --api-key-env, or say "
            "--no-api-key where the server needs none"
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"the environment variable {variable} holds characters that no key has")
    return key


def _check_address(base_url: str | None) -> None:
    if base_url is None:
        return
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"--base-url must be such as http://127.0.0.1:8000/v1, got {_shown(base_url)!r}")


def _shown(address: str) -> str:
    """Return an address without what may be secret in it: user, password, query."""
    # As far as the last @ before the path: a password may hold one.
    return re.sub(r"//[^/?#]*@", "//", address).partition("?")[0].partition("#")[0]
