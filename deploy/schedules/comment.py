#!/usr/bin/env python3
"""The comment that holds the summary of a validation, on a pull request of GitHub or a merge request of GitLab.

``comment.py SUMMARY.md`` replaces the comment that it made before, if there is one. What it needs is in the environment
of a job: of GitHub GITHUB_API_URL, GITHUB_REPOSITORY, and from the workflow GITHUB_TOKEN and PULL_REQUEST; of GitLab
CI_API_V4_URL, CI_PROJECT_ID, CI_MERGE_REQUEST_IID, and GITLAB_TOKEN, a token of the project that may use the API.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

MARK = "<!-- covsvc validate -->"
A_PAGE = 100


def main(summary: str) -> str:
    """Put what the file `summary` holds into the comment; return what was done."""
    body = f"{MARK}\n{Path(summary).read_text(encoding='utf-8')}"
    if "GITLAB_TOKEN" in os.environ:
        project = f"{os.environ['CI_API_V4_URL']}/projects/{os.environ['CI_PROJECT_ID']}"
        comments = f"{project}/merge_requests/{os.environ['CI_MERGE_REQUEST_IID']}/notes"
        change, one = "PUT", comments
        headers = {"PRIVATE-TOKEN": os.environ["GITLAB_TOKEN"]}
    else:
        issues = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
        comments = f"{issues}/{os.environ['PULL_REQUEST']}/comments"
        change, one = "PATCH", f"{issues}/comments"
        headers = {"Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}"}
    before = _find(comments, headers)
    if before is None:
        _ask("POST", comments, headers, {"body": body})
        return "commented"
    _ask(change, f"{one}/{before}", headers, {"body": body})
    return f"replaced comment {before}"


def _find(comments: str, headers: dict[str, str]) -> int | None:
    """Return the number of the comment with the mark, None if there is none."""
    page = 1
    while found := _ask("GET", f"{comments}?per_page={A_PAGE}&page={page}", headers):
        for each in found:
            if each["body"].startswith(MARK):
                return int(each["id"])
        page += 1
    return None


def _ask(verb: str, url: str, headers: dict[str, str], told: dict[str, str] | None = None) -> Any:
    data = None if told is None else json.dumps(told).encode()
    request = urllib.request.Request(url, data, {**headers, "Content-Type": "application/json"}, method=verb)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{main(*sys.argv[1:])}\n")
    except urllib.error.URLError as error:
        sys.exit(f"comment.py: {error}; the token may lack the right to comment")
    except KeyError as error:
        sys.exit(f"comment.py: {error} is not in the environment")
