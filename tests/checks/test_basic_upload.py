"""What basic_upload.py does: one file as multipart/form-data, its bytes untouched."""

from __future__ import annotations

import pytest

from checks.script import Script


@pytest.mark.chapter
def test_opens_the_file_in_binary_mode(script: Script) -> None:
    """Open the file in binary mode."""
    script.run_well()
    for opened in script.opened:
        script.expect(
            not opened.is_text or opened.is_written,
            got=f"open({opened.path.name!r}, {opened.mode!r})",
            expected=f"open({opened.path.name!r}, 'rb')",
            hint="the file was opened in text mode: open it with 'rb'",
            line=opened.line,
        )


@pytest.mark.chapter
def test_sends_one_file_as_multipart(script: Script) -> None:
    """Send a file with files=, as multipart/form-data."""
    script.run_well()
    posts = [request for request in script.web.received if request.method == "POST"]
    script.expect(
        posts, got="no POST was sent", expected="one POST", hint="send the file with requests.post"
    )
    script.expect(
        posts[0].files,
        got=f"a body of the type {posts[0].media_type or 'none'}",
        expected="multipart/form-data with one file",
        hint="pass the open file in files=: data= sends it without name and boundary",
        line=script.sent[0].line,
    )
