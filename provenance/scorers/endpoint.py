"""A client of an OpenAI-compatible ``/v1/completions`` end point for long, paid jobs.

Every answer that passed its check is kept on disk before the job goes on, so an interrupted job
asks nothing twice. The key does not enter the cache, nor does the bearer token.
"""

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
from diskcache import Cache
from pyrate_limiter import Duration, Limiter, Rate
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from provenance.scorers.base import EndpointError, Progress

Body = dict[str, Any]
Choice = dict[str, Any]

T = TypeVar("T")
Read = Callable[[list[Choice]], T]
"""Makes of an answer what is wanted; raises EndpointError if it cannot: it is not kept then."""

_LOG = logging.getLogger(__name__)
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 120.0  # seconds, also for what Retry-After asks


class Estimate(NamedTuple):
    """What a job will cost.

    Attributes:
        requests: that are not answered in the cache yet.
        cached: requests answered there; one that stands there twice counts once.
        prompt_tokens: of the requests to send, as counted by the transcript's tokenizer.
        generated_tokens: of the requests to send.
        price: in the currency of the prices given, None if none were.
    """

    requests: int
    cached: int
    prompt_tokens: int
    generated_tokens: int
    price: float | None


class _Retryable(Exception):
    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Endpoint:
    """One end point, one model, one cache."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: Path,
        token: str | None = None,
        requests_per_minute: int = 600,
        concurrency: int = 4,
        timeout: float = 120.0,
        attempts: int = 6,
        prices: tuple[float, float] | None = None,
        extra: Body | None = None,
    ) -> None:
        """Describe an end point; nothing is sent yet.

        Args:
            url: base address, ``https://host/v1``; ``/completions`` is added.
            model: as the end point calls it.
            cache: folder for the answers; use another one when the model behind the address
                changes, as its old answers would be taken for the new one's.
            token: bearer token.
            requests_per_minute: rate that is not exceeded.
            concurrency: requests under way at once.
            timeout: of one request, in seconds.
            attempts: times a request is tried, at 408, 409, 425, 429, 5xx, and broken connections.
            prices: of a million prompt tokens and of a million generated ones.
            extra: fields added to every request, such as ``{"top_k": 0}``.

        Raises:
            EndpointError: the cache is damaged.
        """
        self.url, self.model = url.rstrip("/"), model
        self.prices = prices
        self._extra = dict(extra or {})
        self._concurrency = concurrency
        self._attempts = attempts
        try:
            self._cache = Cache(str(cache), eviction_policy="none")
        except sqlite3.DatabaseError as error:
            raise EndpointError(
                f"the cache {cache} is damaged ({error}): remove it or give another folder"
            ) from error
        self._limiter = Limiter(Rate(requests_per_minute, Duration.MINUTE))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(timeout=timeout, headers=headers)

    def close(self) -> None:
        """Close the connections and the cache."""
        self._client.close()
        self._cache.close()

    def estimate(self, bodies: Sequence[Body], prompt_tokens: Sequence[int]) -> Estimate:
        """Return what asking these requests will cost; nothing is sent.

        Args:
            bodies: the requests.
            prompt_tokens: number of prompt tokens of each.
        """
        unique = {
            self._key(body): (tokens, body)
            for body, tokens in zip(bodies, prompt_tokens, strict=True)
        }
        new = [e for key, e in unique.items() if _unsealed(self._cache.get(key)) is None]
        prompt = sum(tokens for tokens, _ in new)
        generated = sum(body["max_tokens"] * body.get("n", 1) for _, body in new)
        price = None
        if self.prices is not None:
            price = (prompt * self.prices[0] + generated * self.prices[1]) / 1e6
        return Estimate(len(new), len(unique) - len(new), prompt, generated, price)

    def ask(self, body: Body, read: Read[T]) -> T:
        """Return what ``read`` makes of the answer, from the cache or from the end point.

        Raises:
            EndpointError: no answer, or one that ``read`` refuses.
        """
        key = self._key(body)
        stored = _unsealed(self._cache.get(key))
        if stored is not None:
            return read(json.loads(stored))
        choices = self._send(body)
        result = read(choices)
        self._cache.set(key, _sealed(json.dumps(choices)))
        return result

    def ask_all(
        self, requests: Sequence[tuple[Body, Read[T]]], progress: Progress | None = None
    ) -> list[T]:
        """Answer many requests, some at once; the first failure stops the job.

        What was answered until then is in the cache.

        Raises:
            EndpointError: as for ``ask``.
        """
        first = {self._key(body): number for number, (body, _) in enumerate(requests)}
        repeated = sorted(set(range(len(requests))) - set(first.values()))
        results: dict[int, T] = {}
        # A request that stands there twice is sent once: its copies wait for the cache.
        for part in (sorted(first.values()), repeated):
            with ThreadPoolExecutor(self._concurrency) as pool:
                jobs = {
                    pool.submit(self.ask, body, read): number
                    for number, (body, read) in ((number, requests[number]) for number in part)
                }
                try:
                    for job in as_completed(jobs):
                        results[jobs[job]] = job.result()
                        if progress:
                            progress(len(results), len(requests))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return [results[number] for number in range(len(requests))]

    def _key(self, body: Body) -> str:
        return json.dumps([self.url, self._full(body)], sort_keys=True)

    def _full(self, body: Body) -> Body:
        return {"model": self.model} | self._extra | body

    def _send(self, body: Body) -> list[Choice]:
        retrying = Retrying(
            retry=retry_if_exception_type(_Retryable),
            stop=stop_after_attempt(self._attempts),
            wait=_pause,
            sleep=time.sleep,
            reraise=True,
        )
        try:
            return retrying(self._once, body)
        except _Retryable as error:
            raise EndpointError(
                f"{self.url} gave no answer in {self._attempts} attempts: {error};"
                " run the job again later: answers so far are kept"
            ) from error

    def _once(self, body: Body) -> list[Choice]:
        self._limiter.try_acquire("endpoint")
        try:
            response = self._client.post(f"{self.url}/completions", json=self._full(body))
        except httpx.TransportError as error:
            raise _Retryable(f"{type(error).__name__}: {error}") from error
        if response.status_code in _RETRIED:
            raise _Retryable(_excerpt(response), _retry_after(response))
        if response.status_code != 200:
            raise EndpointError(f"{self.url} refused the request: {_excerpt(response)}")
        try:
            choices = response.json()["choices"]
        except (ValueError, KeyError, TypeError) as error:
            raise EndpointError(f"{self.url} answered without choices: {_excerpt(response)}") from (
                error
            )
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise EndpointError(f"{self.url} answered without choices: {_excerpt(response)}")
        return choices


def _sealed(answer: str) -> str:
    """Return an answer with its sha256 before it: half an answer must not pass for a whole one."""
    return hashlib.sha256(answer.encode()).hexdigest() + answer


def _unsealed(stored: object) -> str | None:
    """Return the answer that was sealed, or None if there is none or it was damaged."""
    if not isinstance(stored, str):
        return None
    answer = stored[64:]
    return answer if _sealed(answer) == stored else None


def announce(endpoint: Endpoint, estimate: Estimate) -> None:
    """Log what a job will cost before its first request is sent."""
    price = "" if estimate.price is None else f", price {estimate.price:.2f}"
    _LOG.info(
        "%s: %d requests (%d more are cached), %d prompt tokens, %d generated tokens%s",
        endpoint.url,
        estimate.requests,
        estimate.cached,
        estimate.prompt_tokens,
        estimate.generated_tokens,
        price,
    )


def _pause(state: RetryCallState) -> float:
    """Return the seconds before the next attempt: what the server asks for, else random backoff."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Retryable) and error.after is not None:
        return min(error.after, _LONGEST_WAIT)
    return float(wait_random_exponential(multiplier=0.5, max=30)(state))


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header, given as a number or as a date (RFC 9110)."""
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _excerpt(response: httpx.Response) -> str:
    return f"HTTP {response.status_code}: {response.text[:200]}"
