"""What runs validations every night, and on every change: it can be installed, it is what its readers take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from checkers import hold_little, hold_sound, needs, verified
from crontab import command_of, slurm_jobs

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "schedules"
README = (FOLDER / "README.md").read_text()
INSTALLED = "/opt/covsvc"


def line_of(told):
    """Return the one line of shell in the page that holds what is told."""
    blocks = [block.strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if told in block]
    (line,) = blocks
    assert "\n" not in line
    return line


TAB = """#!/bin/sh
case $1 in
-l) [ -e "$HOME/tab" ] && exec cat "$HOME/tab"; echo "no crontab for me" WHERE; exit 1 ;;
-) cat >"$HOME/new"; mv "$HOME/new" "$HOME/tab" ;;
*) exit 2 ;;
esac
"""
"""What crontab and scrontab do with the options of the lines: the one says to stderr, the other to stdout, what is not."""

RECORD = '#!/bin/sh\necho "$@" >>"$HOME/told"\n'


@pytest.fixture
def machine(tmp_path):
    """Return what gives a line to a shell at a home, with schedulers that keep what they are told, and root's folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    root = tmp_path / "root"
    (root / "etc/systemd/system").mkdir(parents=True)
    written = {
        "crontab": TAB.replace("WHERE", ">&2"),
        "scrontab": TAB.replace("WHERE", ""),
        "systemctl": RECORD,
        "sudo": '#!/bin/sh\nexec "$@"\n',
    }
    for name, text in written.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def give(line, where=ROOT):
        line = line.replace("/etc/systemd", f"{root}/etc/systemd")
        environment = {"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}
        subprocess.run(["sh", "-ec", line], cwd=where, env=environment, check=True, timeout=60)
        return tmp_path

    return give


# --- cron and Slurm ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    ["60 2 * * * x", "17 24 * * * x", "17 2 0 * * x", "17 2 * 13 * x", "5-2 2 * * * x", "17 2 * * x", "* 2 * * * x %d"],
)
def test_the_parser_of_crontabs_refuses(wrong):
    with pytest.raises((AssertionError, ValueError)):
        command_of(wrong)


def test_the_line_of_cron_installs_itself_once_and_leaves_others_alone(machine):
    home = machine(line_of("| crontab -"))
    tab = home / "tab"
    assert len(tab.read_text().splitlines()) == 1
    tab.write_text("# mine\n5 5 * * 1-5 backup\n" + tab.read_text())
    before = tab.read_text()
    machine(line_of("| crontab -"))
    assert tab.read_text() == before
    assert before.startswith("# mine\n5 5 * * 1-5 backup\n")
    command = command_of(before.splitlines()[-1])
    assert command.split() == ["nice", str(FOLDER / "nightly.sh"), "#", "covsvc-nightly"]


def test_the_line_of_slurm_installs_itself_once_and_leaves_others_alone(machine):
    home = machine(line_of("| scrontab -"))
    tab = home / "tab"
    assert "no crontab" not in tab.read_text()
    tab.write_text("#SCRON -p long\n5 5 * * * backup\n" + tab.read_text())
    before = tab.read_text()
    machine(line_of("| scrontab -"))
    assert tab.read_text() == before
    (_, _), (options, command) = slurm_jobs(before)
    assert command == str(FOLDER / "nightly.sh")
    assert "--dependency=singleton" in options


# --- systemd -----------------------------------------------------------------------------------------------------------


@needs("systemd-analyze")
def test_the_line_of_systemd_installs_units_of_the_user_that_are_right(machine):
    line = line_of("~/.config/systemd/user")
    home = machine(line)
    folder = home / ".config/systemd/user"
    before = {file.name: file.read_text() for file in folder.iterdir()}
    machine(line)
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert not [name for name, text in before.items() if INSTALLED in text]
    assert verified(*sorted(folder.iterdir()), user=True) == (0, "")
    once = ["--user daemon-reload", "--user enable covsvc-nightly.timer", "--user restart covsvc-nightly.timer"]
    assert (home / "told").read_text().splitlines() == once * 2


@needs("systemd-analyze")
def test_the_line_of_systemd_installs_units_of_the_system_that_are_right(machine):
    line = line_of("/etc/systemd/system")
    home = machine(line)
    folder = home / "root/etc/systemd/system"
    assert not [file for file in folder.iterdir() if INSTALLED in file.read_text()]
    me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    for kind in ("service", "timer"):  # as systemctl enable makes them of the template
        (folder / f"covsvc-nightly@{me}.{kind}").symlink_to(f"covsvc-nightly@.{kind}")
    assert verified(*sorted(folder.glob(f"*@{me}.*")), user=False) == (0, "")
    assert (home / "told").read_text().splitlines()[1:] == [
        f"enable covsvc-nightly@{me}.timer",
        f"restart covsvc-nightly@{me}.timer",
    ]


@needs("systemd-analyze")
def test_what_the_service_of_the_system_may_do_is_little():
    hold_little(FOLDER / "systemd/covsvc-nightly@.service", 35)


@needs("systemd-analyze")
@pytest.mark.parametrize("name", ["covsvc-nightly.timer", "covsvc-nightly@.timer"])
def test_timers_elapse_once_a_night(name):
    (when,) = re.findall("^OnCalendar=(.*)$", (FOLDER / "systemd" / name).read_text(), re.M)
    command = ["systemd-analyze", "calendar", "--iterations=3", "--base-time=2026-11-22 12:00:00 UTC", when]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env={"TZ": "UTC"}).stdout
    assert re.findall(r"2026-11-(\d\d) 02:17:00", told) == ["23", "24", "25"]


def test_what_is_decided_is_not_tried_again_and_what_was_killed_is():
    for name in ("covsvc-nightly.service", "covsvc-nightly@.service"):
        assert "Restart=on-failure\nRestartPreventExitStatus=1 2 3\n" in (FOLDER / "systemd" / name).read_text()


# --- continuous integration --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "schema"), [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")]
)
def test_workflows_are_what_their_readers_take(name, schema):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    ended = subprocess.run([*command, str(FOLDER / name)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def shell_of_workflows():
    github = yaml.safe_load((FOLDER / "github-actions.yml").read_text())["jobs"]["validate"]
    gitlab = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())["covsvc"]
    steps = [step["run"] for step in github["steps"] if "run" in step]
    return [*steps, "\n".join(gitlab["script"]), *gitlab["after_script"]]


@needs("shellcheck")
@pytest.mark.parametrize("text", [*shell_of_workflows(), (FOLDER / "nightly.sh").read_text()])
def test_shell_is_sound(text):
    hold_sound(text)


def test_workflows_validate_and_comment():
    told = shell_of_workflows()
    assert sum("covsvc validate deploy/studies/nightly.yaml --out validation" in each for each in told) == 2
    assert sum("deploy/schedules/comment.py validation/summary.md" in each for each in told) == 2


def test_workflows_run_one_at_a_time_and_nothing_in_the_middle_is_cancelled():
    github = yaml.safe_load((FOLDER / "github-actions.yml").read_text())["jobs"]["validate"]
    assert github["concurrency"] == {"group": "covsvc-validate", "cancel-in-progress": False}
    assert yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())["covsvc"]["resource_group"] == "covsvc-validate"


class Forge(ThreadingHTTPServer):
    """The comments of one pull request or merge request, in pages, behind a token."""

    def __init__(self, path, header, token):
        super().__init__(("127.0.0.1", 0), Comments)
        self.path, self.header, self.token = path, header, token
        self.comments = {number: f"somebody's comment {number}" for number in range(1, 151)}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Comments(BaseHTTPRequestHandler):
    def answer(self, told, code=200):
        body = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def asked(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]

    def is_known(self, *paths):
        if self.headers[self.server.header] != self.server.token:
            self.answer({"message": "no"}, 403)
        elif urlsplit(self.path).path not in paths:
            self.answer({"message": "nothing here"}, 404)
        else:
            return True
        return False

    def do_GET(self):
        if self.is_known(self.server.path):
            asked = parse_qs(urlsplit(self.path).query)
            size, page = int(asked["per_page"][0]), int(asked["page"][0])
            found = list(self.server.comments.items())[size * (page - 1) : size * page]
            self.answer([{"id": number, "body": body} for number, body in found])

    def do_POST(self):
        if self.is_known(self.server.path):
            self.server.comments[max(self.server.comments) + 1] = self.asked()
            self.answer({}, 201)

    def change(self):
        # of GitHub a comment belongs to the repository, of GitLab a note to its merge request
        folder = self.server.path.replace("/7/comments", "/comments")
        if self.is_known(*(f"{folder}/{number}" for number in self.server.comments)):
            self.server.comments[int(self.path.rpartition("/")[2])] = self.asked()
            self.answer({})

    def do_PUT(self):
        if "notes" in self.server.path:
            self.change()

    def do_PATCH(self):
        if "notes" not in self.server.path:
            self.change()

    def log_message(self, *_):
        pass


GITHUB = ("/repos/a/b/issues/7/comments", "Authorization", "Bearer secret")
GITLAB = ("/projects/5/merge_requests/7/notes", "PRIVATE-TOKEN", "secret")


@pytest.fixture(params=[GITHUB, GITLAB], ids=["github", "gitlab"])
def forge(request):
    """Serve comments; yield them, and the environment of a job."""
    with Forge(*request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        environment = {
            "github": {
                "GITHUB_API_URL": server.url,
                "GITHUB_REPOSITORY": "a/b",
                "GITHUB_TOKEN": "secret",
                "PULL_REQUEST": "7",
            },
            "gitlab": {
                "CI_API_V4_URL": server.url,
                "CI_PROJECT_ID": "5",
                "CI_MERGE_REQUEST_IID": "7",
                "GITLAB_TOKEN": "secret",
            },
        }
        yield server.comments, environment["github" if request.param is GITHUB else "gitlab"]
        server.shutdown()
        thread.join()


def comment(file, environment):
    command = [sys.executable, str(FOLDER / "comment.py"), str(file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_second_comment_takes_the_place_of_the_first(forge, tmp_path):
    comments, environment = forge
    others = dict(comments)
    summary = tmp_path / "summary.md"
    for text in ("**FAILED** ε < 1", "**PASSED** ε > 1"):
        summary.write_text(text, encoding="utf-8")
        ended = comment(summary, environment)
        assert ended.returncode == 0, ended.stderr
    (number,) = set(comments) - set(others)
    assert comments == {**others, number: "<!-- covsvc validate -->\n**PASSED** ε > 1"}
    assert ended.stdout == f"replaced comment {number}\n"


def test_a_token_without_the_right_and_a_job_without_one_are_told(forge, tmp_path):
    comments, environment = forge
    before = dict(comments)
    (tmp_path / "summary.md").write_text("PASSED")
    name = "GITLAB_TOKEN" if "GITLAB_TOKEN" in environment else "GITHUB_TOKEN"
    ended = comment(tmp_path / "summary.md", environment | {name: "another"})
    assert ended.returncode == 1
    assert ended.stderr == "comment.py: HTTP Error 403: Forbidden; the token may lack the right to comment\n"
    ended = comment(tmp_path / "summary.md", {})
    assert (ended.returncode, ended.stderr) == (1, "comment.py: 'GITHUB_API_URL' is not in the environment\n")
    assert comments == before
