"""The file of tokens: who is let in, who is not, and what becomes of it while a service reads it."""

from __future__ import annotations

import hashlib
import logging
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from covsvc.service.tokens import TokenError, Tokens, add_token, read_tokens, remove_token

SECRET = "open sesame"
SHA256 = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"
"""Of the secret, by sha256sum."""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who may read\n\nalice sha256:{SHA256}\n")
    return path


def test_whose_digest_is_in_the_file_is_let_in(file):
    assert Tokens(file).owner(SECRET) == "alice"
    assert Tokens(file).names == ["alice"]


@pytest.mark.parametrize(
    "wrong", ["", "open", SECRET + " ", SECRET.upper(), SHA256, f"sha256:{SHA256}", "é\udcff", "\0"]
)
def test_nobody_else_is(file, wrong):
    assert Tokens(file).owner(wrong) is None


def test_a_token_is_drawn_once_and_kept_as_a_digest(file):
    tokens = {name: add_token(file, name) for name in ("bob", "carol.k", "grid-42")}
    text = file.read_text()
    assert text.startswith(f"# who may read\n\nalice sha256:{SHA256}\n")
    for name, token in tokens.items():
        assert len(token) >= 43  # 256 bits in base 64
        assert token not in text
        assert f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n" in text
        assert Tokens(file).owner(token) == name
    assert len(set(tokens.values())) == 3


def test_a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_mode(tmp_path):
    path = tmp_path / "new"
    add_token(path, "alice")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    add_token(path, "bob")
    remove_token(path, "alice")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["new"]


def test_a_link_to_the_file_stays_a_link(file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    token = add_token(link, "bob")
    assert link.is_symlink()
    assert Tokens(file).owner(token) == "bob"


def test_changes_count_from_the_next_request_on(file):
    tokens = Tokens(file)
    added = add_token(file, "bob")
    assert tokens.owner(added) == "bob"
    remove_token(file, "alice")
    assert tokens.owner(SECRET) is None
    assert tokens.owner(added) == "bob"
    with file.open("a") as opened:  # by an editor, in place
        opened.write(f"dave sha256:{SHA256}\n")
    assert tokens.owner(SECRET) == "dave"


def test_a_file_that_is_gone_lets_nobody_in_until_it_is_back(file, tmp_path, caplog):
    tokens = Tokens(file)
    file.rename(tmp_path / "elsewhere")
    assert tokens.owner(SECRET) is None
    assert "No such file" in caplog.text
    (tmp_path / "elsewhere").rename(file)
    assert tokens.owner(SECRET) == "alice"


def test_a_wrong_line_lets_its_owner_out_and_nobody_else(file, caplog):
    tokens = Tokens(file)
    file.write_text(f"alice sha256:{SHA256}\nbob {SECRET}\n")
    with caplog.at_level(logging.INFO):
        assert tokens.owner(SECRET) == "alice"
    assert f"{file}:2: is not NAME sha256:HEX" in caplog.text
    assert "1 may read" in caplog.text
    assert SECRET not in caplog.text  # which somebody wrote there


@pytest.mark.parametrize(
    "line",
    [
        f"bob {SHA256}",
        f"bob sha256:{SHA256[:-1]}",
        f"bob sha256:{SHA256.upper()}",
        f"bob  sha256:{SHA256}",
        f"bob sha256:{SHA256} extra",
        f"-bob sha256:{SHA256}",
        f"b/b sha256:{SHA256}",
        f"alice sha256:{SHA256}",
        SECRET,
    ],
)
def test_a_wrong_line_is_refused_at_the_start(file, line):
    with file.open("a") as opened:
        opened.write(f"{line}\n")
    with pytest.raises(TokenError, match=r"tokens:4: ") as told:
        Tokens(file)
    assert SECRET not in str(told.value)


def test_what_cannot_be_read_is_refused_at_the_start(tmp_path):
    with pytest.raises(TokenError, match="No such file or directory; `covsvc token add NAME"):
        Tokens(tmp_path / "none")
    with pytest.raises(TokenError, match="Is a directory; name a file that can be read"):
        Tokens(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(TokenError, match="is no text"):
        Tokens(tmp_path / "binary")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-a", "a\n", "a" * 65, "ä", "#a"])
def test_a_name_that_is_none_changes_nothing(file, name):
    before = file.read_text()
    with pytest.raises(TokenError, match="no name"):
        add_token(file, name)
    assert file.read_text() == before


def test_a_name_has_one_token(file):
    with pytest.raises(TokenError, match="alice has a token; take it away first"):
        add_token(file, "alice")
    remove_token(file, "alice")
    with pytest.raises(TokenError, match="no token of 'alice'; there are those of nobody"):
        remove_token(file, "alice")
    assert file.read_text() == "# who may read\n\n"


def test_a_file_that_cannot_be_written_is_told_of(tmp_path):
    with pytest.raises(TokenError, match="make the folder first"):
        add_token(tmp_path / "none" / "tokens", "alice")


def test_many_who_add_at_once_lose_nothing(file):
    names = [f"name{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        drawn = dict(zip(names, pool.map(lambda name: add_token(file, name), names), strict=True))
    known = Tokens(file)
    assert {token: known.owner(token) for token in drawn.values()} == {token: name for name, token in drawn.items()}
    assert set(read_tokens(file)) == {"alice", *names}
