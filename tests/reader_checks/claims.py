"""What a script makes of a failure that it was told of."""

from __future__ import annotations

import re

import requests

from reader_checks.script import Run, Script

CLAIM = re.compile(
    r"\b(uploaded|saved|success|successful(ly)?|succeeded)\b"
    r"|\b(up|down)load(ing)? (is |was )?complete",
    re.IGNORECASE,
)
DENIAL = re.compile(r"\b(not?|none|fail\w*|error|un\w+|without)\b", re.IGNORECASE)


def find_catching(script: Script) -> int | None:
    """Return the line that last caught what raise_for_status() raised."""
    lines = [line for error, line in script.caught if isinstance(error, requests.HTTPError)]
    return lines[-1] if lines else None


def expect_no_claim(script: Script, good: Run, bad: Run, printed_before: str) -> None:
    """Expect that a run which caught an error of the status claims no success after it.

    `good` went well, and `printed_before` is what `bad` had printed when the answer came.
    """
    if bad.error or bad.exit_code or not find_catching(script):
        return
    usual = good.out.splitlines()
    for said in bad.out.splitlines()[len(printed_before.splitlines()) :]:
        claim = CLAIM.search(said)
        is_usual = said in usual and not DENIAL.search(said)
        script.expect(
            not claim or not (is_usual or re.search(r"\bNone\b", said)),
            got=f"the server answered 500, and the script printed {said!r}",
            expected="no such words after a failure",
            hint="success is reported although the status told of a failure: say it only when"
            " all went well",
            line=script.find_print(re.escape(claim[0] if claim else said)),
        )
