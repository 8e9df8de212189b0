"""Verdicts on commands that accept a stranger's file."""

import json
import sqlite3
from pathlib import Path

import pytest

from selftest import malicious_files
from selftest.bench import Done
from selftest.malicious_imports import PAYLOADS, Payload
from tests.conftest import ROOT

GOOD = "1 problem with the config:\n  config.yaml:3: net.target: 'os.system' may not be named; ..."
RUN, PREDICT = Payload("a", "os.system"), Payload("a", "os.system", verb="predict")


@pytest.mark.parametrize(
    ("payload", "done", "executed", "said"),
    [
        (RUN, Done(2, "", GOOD), False, []),
        (PREDICT, Done(2, "", GOOD.replace("config.yaml:3: ", "")), False, []),
        (RUN, Done(2, "", GOOD.replace("config.yaml:3: ", "--set net=os.system: ")), False, []),
        (RUN, Done(2, "", GOOD), True, ["refused expected, found it executed"]),
        (RUN, Done(0, "", GOOD), False, ["exit code 2 expected, found 0"]),
        (PREDICT, Done(2, "", "no room"), False, ["'os.system' expected, found no room"]),
        (RUN, Done(2, "", GOOD.replace("config.yaml:3: ", "")), False, ["its line in the file expected"]),
        (RUN, Done(2, "", GOOD + "\nTraceback\nboom"), False, ["no traceback expected, found boom"]),
    ],
)
def test_a_payload_that_got_in_is_told(payload: Payload, done: Done, executed: bool, said: list[str]) -> None:
    found = list(malicious_files.judge_payload(payload, done, executed))
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))


def test_payloads_are_configs_with_their_marker(tmp_path: Path) -> None:
    assert len({payload.name for payload in PAYLOADS}) == len(PAYLOADS) >= 30
    for payload in PAYLOADS:
        text = payload.write(tmp_path).read_text()
        assert payload.wanted.rpartition(".")[2] in text or "--set" in payload.options
        assert "MARK" not in text and json.loads(text)


@pytest.mark.parametrize(
    ("done", "executed", "said"),
    [
        (Done(2, "main.py: last.pt: is none", ""), False, []),
        (Done(2, "last.pt: ", ""), True, ["refused expected, found it executed"]),
        (Done(-11, "a.pt: ", ""), False, ["exit code 2 expected, found -11: a.pt: "]),
        (Done(2, "no", ""), False, ["'.pt:' expected, found no"]),
        (Done(2, "Traceback: .pt:", ""), False, ["no traceback expected, found Traceback: .pt:"]),
    ],
)
def test_a_file_that_got_in_is_told(done: Done, executed: bool, said: list[str]) -> None:
    assert list(malicious_files.judge_hostile(done, executed, 2, ".pt:")) == said


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load(p, weights_only=True)", []),
        ("torch.load(p)", ["torch.load()"]),
        ("torch.load(p, weights_only=False)", ["torch.load(weights_only=False)"]),
        ("np.load(p, allow_pickle=False)", []),
        ("np.load(p)", ["np.load()"]),
        ("pickle.loads(b)", ["pickle.loads()"]),
        ("yaml.load(t, Loader=yaml.Loader)", ["yaml.load(Loader=yaml.Loader)"]),
        ("model.eval()\njson.load(f)", []),
        ("def f():\n    return eval(x)", ["eval()"]),
    ],
)
def test_loose_calls_are_found(source: str, found: list[str]) -> None:
    assert [call for _, call in malicious_files.loose_calls(source)] == found


def test_nothing_in_the_project_reads_loosely() -> None:
    assert malicious_files.loose_reads(ROOT) == []


def test_a_database_is_spoilt_where_optuna_looks(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE trials (trial_id); CREATE TABLE studies (study_id);"
            "INSERT INTO trials VALUES (1), (2); INSERT INTO studies VALUES (7);"
        )
        for owner in ("trial", "study"):
            for kind in ("user", "system"):
                connection.execute(f"CREATE TABLE {owner}_{kind}_attributes ({owner}_id, key, value_json)")
    malicious_files.spoil(path, "touch x")
    rows = connection.execute("SELECT * FROM trial_system_attributes").fetchall()
    assert len(rows) == 6 and {key for _, key, _ in rows} >= {"cma:optimizer:0"}
    assert b"system" in bytes.fromhex(json.loads(rows[0][2]))
    assert connection.execute("SELECT COUNT(*) FROM study_user_attributes").fetchone() == (3,)
    connection.close()
