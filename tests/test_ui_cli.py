"""The command line: it teaches, says what is wrong in one sentence, and stops cleanly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from agent.local_vllm import free_port
from agent.store import Store
from tests.shops import write_files
from tests.test_eval_compare import save, talk

SHOPTALK = [sys.executable, "-m", "ui.cli"]
ROOT = Path(__file__).parents[1]


def run(
    *words: str | Path, home: Path, stdin: str = "", seconds: float = 120, **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "SHOPTALK_HOME": str(home), **settings}
    return subprocess.run(
        [*SHOPTALK, *map(str, words)],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=ROOT,
        check=False,
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare the twelve-item shop from its owner's files, as a person does."""
    folder = tmp_path_factory.mktemp("cli")
    items, interactions = write_files(folder)
    home = folder / "home"
    done = run("prepare", "--items", items, "--interactions", interactions, "--no-model", home=home, seconds=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"The shop is ready in {home}/shop: 12 items, ")
    assert "Shop: Reading the files" in done.stderr
    return home


COMMANDS = "prepare chat eval compare report simulate dialogues train bench doctor settings memory".split()


def test_the_help_names_every_command_and_each_explains_itself(tmp_path: Path) -> None:
    top = run("--help", home=tmp_path).stdout
    for command in COMMANDS:
        assert f"│ {command} " in top
        shown = run(command, "--help", home=tmp_path)
        assert shown.returncode == 0 and len(shown.stdout) > 200, command


def test_starting_imports_nothing_heavy() -> None:
    heavy = ("gradio", "torch", "langchain", "chromadb", "pandas", "transformers", "numpy")
    code = f"import sys, ui.cli; sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "settings", "sentence"),
    [
        (("chat", "--terminal", "--no-model"), {}, "No shop at "),
        (("eval", "no.jsonl", "--output", "out", "--no-model"), {}, "No shop at "),
        (("prepare", "--items", "no.jsonl", "--no-model"), {}, "no.jsonl"),
        (("prepare", "--interactions", "x.csv"), {}, "The log needs its items"),
        (("compare", "a", "b"), {}, "No shop at "),
        (("report", "out"), {}, "No shop at "),
        (("train",), {}, "Make them with: shoptalk dialogues"),
        (("memory", "show", "u1"), {}, "Nothing is kept yet"),
        (("settings",), {"SHOPTALK_PORT": "x"}, "Cannot use SHOPTALK_PORT='x'"),
        (("settings",), {"SHOPTALK_PROT": "1"}, "Did you mean SHOPTALK_PORT?"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, words: tuple[str, ...], settings: dict[str, str], sentence: str
) -> None:
    done = run(*words, home=tmp_path, **settings)
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert said[-1].startswith("shoptalk: ") and sentence in said[-1]
    assert "Traceback" not in done.stderr


def test_a_mistyped_option_is_a_usage_error(tmp_path: Path) -> None:
    done = run("chat", "--prot", "1", home=tmp_path)
    assert done.returncode == 2 and "No such option" in done.stderr


def test_a_taken_port_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("chat", "--no-model", "--port", str(port), home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"shoptalk: Port {port} on 127.0.0.1 cannot be used")


def test_settings_are_printed_and_the_table_is_the_readmes(tmp_path: Path) -> None:
    shown = run("settings", home=tmp_path, SHOPTALK_PORT="7000", SHOPTALK_MODEL_KEY="secret")
    assert "SHOPTALK_PORT = 7000" in shown.stdout and "secret" not in shown.stdout
    assert run("settings", "--markdown", home=tmp_path).stdout.startswith("| setting | default | |\n")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m ui.cli settings --markdown | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.stdout.startswith("| setting") and done.stderr == ""


def test_memory_is_shown_exported_and_erased(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.sqlite")) as store:
        store.remember("u1", kind="avoid", text="nuts \x1b[31m")
        store.set_cart("u1", [("i00", 2)])
        store.remember("u2", kind="like", text="tea")
    shown = run("memory", "show", "u1", home=tmp_path).stdout
    assert shown == "avoid: nuts [31m\nin the cart: 2 × i00\n0 talks are kept\n"
    assert json.loads(run("memory", "export", "u1", home=tmp_path).stdout)["cart"] == [
        {"item_id": "i00", "quantity": 2}
    ]
    full = run("memory", "export", "u1", "--output", "/dev/full", home=tmp_path)
    assert full.returncode == 2 and "No space left on device" in full.stderr
    assert run("memory", "erase", "u1", home=tmp_path, stdin="n\n").stdout.endswith("Nothing was erased\n")
    assert run("memory", "erase", "u1", "--yes", home=tmp_path).stdout == "Erased 2 entries of u1\n"
    with closing(Store(tmp_path / "store.sqlite")) as store:
        assert (store.memories("u1"), store.cart("u1"), len(store.memories("u2"))) == ([], (), 1)


@pytest.mark.slow
def test_a_piped_talk(shop: Path) -> None:
    done = run(
        "chat", "--terminal", "--no-model", "--shopper", "u0", home=shop, stdin="cheese\n/add 1\n/cart\n/why 9\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Shop: opening it"), "opening takes seconds, and is said before it"
    assert "Shredded cheese, 8 oz, store brand  $2.00" in done.stdout
    assert "Total $" in done.stdout
    assert "The last list goes from 1 to" in done.stdout


@pytest.mark.slow
def test_a_comparison_is_a_release_gate_and_a_report_is_a_page(shop: Path, tmp_path: Path) -> None:
    good = save(tmp_path / "good", [talk(f"c{n}") for n in range(14)], shop_generation="")
    bad = save(tmp_path / "bad", [talk(f"c{n}", good=n < 2) for n in range(14)], shop_generation="")
    other = save(tmp_path / "other", [talk("c0")], shop_generation="", set_hash="5678")
    assert run("compare", bad, good, home=shop).returncode == 0
    worse = run("compare", good, bad, "--metric", "answered_rate", "--changed", "1", home=shop)
    assert worse.returncode == 1
    assert worse.stdout.endswith("B is worse than A in answered_rate\n") and "wanted   act: recommend" in worse.stdout
    refused = run("compare", good, other, home=shop)
    assert refused.returncode == 2 and "made with another set" in refused.stderr
    unknown = run("compare", good, bad, "--metric", "accuracy", home=shop)
    assert unknown.returncode == 2 and "Did you mean act_accuracy?" in unknown.stderr
    written = run("report", good, home=shop)
    assert written.returncode == 0, written.stderr
    assert (good / "report.html").is_file() and (good / "report.md").is_file()
    assert run("report", tmp_path / "none", home=shop).returncode == 2


@pytest.mark.slow
def test_simulated_shoppers_talk_to_a_shop_as_it_was_before(shop: Path, tmp_path: Path) -> None:
    words = ("simulate", "--assistant", "search", "--shoppers", "3", "--output", tmp_path / "talks")
    done = run(*words, "--weeks", "1", home=shop)
    assert done.returncode == 0, done.stderr
    assert "3 simulated shoppers" in done.stdout and (shop / "earlier" / "current").exists()
    results = json.loads((tmp_path / "talks" / "results.json").read_text(encoding="utf-8"))
    assert (results["config"]["assistant"], results["config"]["weeks"], results["results"]["leaks"]) == ("search", 1, 0)
    refused = run(*words, "--weeks", "99", home=shop)
    assert refused.returncode == 2 and "choose fewer with --weeks" in refused.stderr


def test_an_unknown_shopper_is_a_sentence(shop: Path) -> None:
    done = run("chat", "--terminal", "--no-model", "--shopper", "nobody", home=shop)
    assert done.returncode == 2 and "no shopper 'nobody'" in done.stderr


@pytest.mark.slow
def test_a_model_that_refuses_is_a_sentence_and_without_it_the_list_still_comes(shop: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    done = run("chat", "--terminal", home=shop, stdin="cheese\n", SHOPTALK_MODEL_URL=url)
    assert done.returncode == 0 and f"The model at {url} does not answer" in done.stderr
    assert "Shredded cheese, 8 oz, store brand  $2.00" in done.stdout
    assert "The model is not answering" in done.stdout


def test_a_shop_of_ones_own_is_never_replaced_by_the_default_one(shop: Path, tmp_path: Path) -> None:
    before = (shop / "shop" / "current").read_text()
    done = run("prepare", "--no-model", home=shop)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"The shop is ready in {shop}/shop: 12 items, ")
    assert (shop / "shop" / "current").read_text() == before


@pytest.mark.slow
def test_ctrl_c_ends_the_page_cleanly_and_frees_the_port(shop: Path, tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [*SHOPTALK, "chat", "--no-model", "--port", str(port)],
            env={**os.environ, "SHOPTALK_HOME": str(shop)},
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            _wait_for_page(port, process)
            _wait_for_line(f"The page is on http://127.0.0.1:{port}", log.name)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
        finally:
            process.kill()
        log.seek(0)
        said = log.read()
    assert said.startswith("Page: opening the shop"), "seconds pass until the page is there, and are told"
    assert said.endswith("Stopped. What was finished is kept.\n") and "Traceback" not in said
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _wait_for_page(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as page:
                assert page.status == 200
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the page did not come up")


def _wait_for_line(line: str, path: str) -> None:
    """The port answers a moment before the line is printed."""
    deadline = time.monotonic() + 30
    while line not in (said := Path(path).read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


@pytest.mark.slow
def test_doctor_says_what_works_and_what_to_do(shop: Path, tmp_path: Path) -> None:
    lines = run("doctor", home=shop).stdout.splitlines()
    found = {line[5:17].strip(): line[:3].strip() for line in lines if not line.startswith("     ")}
    assert {name: found[name] for name in ("python", "packages", "shop", "search", "port")} == dict.fromkeys(
        ("python", "packages", "shop", "search", "port"), "ok"
    ) | ({"port": found["port"]})
    bad = run("doctor", home=tmp_path)
    assert bad.returncode == 1
    assert "bad  shop        No shop at" in bad.stdout and "→ Run: shoptalk prepare" in bad.stdout
