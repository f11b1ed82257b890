"""The playground in a browser: a person changes what is trained, looks, and copies the program."""

import re
import shutil
import subprocess
import sys
import time

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install 'npnn-xp[test-browser]'"
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="there is no Chromium: apt-get install chromium"
)
FIRST = {"problem": "xor", "hidden": [[4, "Tanh"], [4, "Tanh"]], "backend": "numpy", "alpha": 0.01}
SECONDS = 60_000  # milliseconds that anything may take on a busy machine


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    command = [sys.executable, "-m", "npnn", "playground", "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path_factory.mktemp("served")
    )
    yield process.stdout.readline().split()[1]
    process.terminate()
    process.wait(20)
    process.stdout.close()


@pytest.fixture
def page(browser, address):
    found = browser.new_page(viewport={"width": 1400, "height": 950})
    found.set_default_timeout(SECONDS)
    said = []
    found.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    found.on("pageerror", lambda error: said.append(str(error)))
    found.goto(address)
    for name, given in (("choose", FIRST), ("play", {})):
        found.evaluate(
            "([name, given]) => fetch(name, {method: 'POST', body: JSON.stringify(given),"
            " headers: {'Content-Type': 'application/json'}})",
            [name, given],
        )
    wait(found, "Number(document.body.dataset.step) > 0")
    yield found
    found.close()
    assert [text for text in said if "status of 400" not in text] == []


def wait(page, condition):
    """Wait until an expression is true; the page itself is allowed to evaluate none."""
    end = time.monotonic() + SECONDS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.03)


def steps(page):
    return int(page.inner_text("#steps").replace(",", ""))


def pause(page):
    wait(page, "document.getElementById('play').textContent === 'Pause'")
    page.click("#play")
    wait(page, "document.getElementById('play').textContent === 'Play'")


def chosen(page, condition):
    wait(page, f"(({condition})(playground.state.told))")


@pytest.mark.later
def test_a_person_changes_what_is_trained_and_the_copied_program_does_the_same(page, tmp_path):
    page.click("#problem-circles")
    chosen(page, "told => told.chosen.problem === 'circles'")
    page.click("#add-layer")
    chosen(page, "told => told.columns.length === 4")
    page.click("#more-1")
    page.select_option("#activation-0", "ReLU")
    chosen(page, 'told => JSON.stringify(told.chosen.hidden) === \'[[6,"ReLU"],[7,"Tanh"]]\'')
    backends = page.evaluate("playground.state.told.choices.backends")
    backend = "array_api_strict" if "array_api_strict" in backends else backends[-1]
    page.select_option("#backend", backend)
    chosen(page, f"told => told.chosen.backend === '{backend}'")
    wait(page, "Number(document.body.dataset.step) > 20")
    page.select_option("#alpha", "0.03")
    chosen(page, "told => told.chosen.alpha === 0.03")
    page.select_option("#penalty", "l2")
    chosen(page, "told => told.chosen.penalty === 'l2'")
    page.fill("#noise", "0.12")
    chosen(page, "told => told.chosen.noise === 0.12")
    pause(page)
    before = steps(page)
    page.click("#step")
    wait(page, f"document.body.dataset.step === '{before + 1}'")

    page.click("#slow")
    page.wait_for_selector("#list button")
    count = page.locator("#list button").count()
    assert count == 6 + 1 + 1 + 5 + 6  # forward, loss, its derivative, backward, update
    phases = page.locator("#list .phase").all_inner_texts()
    assert [phase.lower() for phase in phases] == ["forward", "loss", "backward", "update"]
    for number in range(count):
        assert page.inner_text("#operation p").startswith(f"{number + 1} of {count}")
        assert page.locator("#operation math, #operation pre").count() > 0
        if number + 1 < count:
            page.click("#after")
    assert page.is_disabled("#after")
    page.click("#make-step")
    wait(page, f"document.body.dataset.step === '{before + 2}'")

    page.click("#program")
    wait(page, "document.getElementById('dialog').open")
    program = page.inner_text("#code")
    shown = [page.inner_text(f"#{name}") for name in ("loss", "val_loss")]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"loss {shown[0]}, in validation {shown[1]}\n" in done.stdout
    page.click("#close")
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "model.safetensors"


def test_units_and_weights_are_looked_at_and_all_of_it_by_the_keyboard(page):
    page.focus(".unit[data-at='1,0']")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait(page, "document.querySelector('#looked-at h3').textContent.startsWith('Unit 2 of')")
    wait(page, "playground.state.story?.steps.length > 0")
    page.locator("#look-weights button").first.click()
    wait(page, "document.querySelector('#looked-at h3').textContent.startsWith('Weight')")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    wait(page, "document.getElementById('play').textContent === 'Play'")
    before = steps(page)
    page.keyboard.press("s")
    wait(page, f"document.body.dataset.step === '{before + 1}'")
    line = page.evaluate(
        "(() => { const box = document.getElementById('lines').getBoundingClientRect();"
        "const line = playground.lines().find((each) => each.column === 1 && each.unit === 3);"
        "return [box.left + (line.from.right + line.to.left) / 2,"
        " box.top + (line.from.y + line.to.y) / 2]; })()"
    )
    page.mouse.click(*line)
    wait(
        page,
        "/^Weight from input x\\d to unit 4 of layer 1/.test("
        "document.querySelector('#looked-at h3').textContent)",
    )
    page.keyboard.press("r")
    wait(page, "document.body.dataset.step === '0'")


def test_a_table_of_ones_own_is_opened_and_a_wrong_choice_is_said(page, tmp_path):
    rows = [f"{i % 7},{i % 5},{i % 3},{'ab'[i % 7 > 3]}" for i in range(60)]
    (tmp_path / "mine.csv").write_text("\n".join(["u,v,w,kind", *rows]))
    page.set_input_files("#file", tmp_path / "mine.csv")
    chosen(page, "told => told.chosen.problem === 'table'")
    page.select_option("#column-0", "w")
    chosen(page, "told => told.chosen.columns.length === 2 && told.chosen.columns[0] === 'w'")
    (tmp_path / "wrong.csv").write_text("u,v\n1\n2,3,4\n")
    page.set_input_files("#file", tmp_path / "wrong.csv")
    page.wait_for_selector("#message:not([hidden])")
    assert page.evaluate("playground.state.told.table") == "mine.csv"


def test_images_are_convolved_and_what_is_old_is_not_drawn_on(page):
    page.click("#problem-digits")
    chosen(page, "told => told.chosen.problem === 'digits'")
    page.click("#add-filter")
    chosen(page, "told => told.chosen.filters.length === 1 && told.columns[1].kind === 'Conv2D'")
    assert page.inner_text("#play") == "Pause"  # also while there is no frame yet
    page.click("#more-filter-0")
    chosen(page, "told => told.chosen.filters[0][0] === 5")
    assert page.evaluate("playground.lines().length") == 5 + 5 * 16 + 16 * 10
    wait(page, "Number(document.body.dataset.step) > 0")
    page.click(".unit[data-at='1,4']")
    wait(page, "document.querySelector('#looked-at h3').textContent === 'Channel 5 of layer 1'")
    page.click("#remove-filter-0")
    chosen(page, "told => told.chosen.filters.length === 0")
    page.fill("#noise", "0.4")
    chosen(page, "told => told.chosen.noise === 0.4")


def test_units_stand_in_line_however_long_their_names_are(page, tmp_path):
    rows = ["width,a long name,kind"]
    rows += [f"{n % 7},{n % 11},{('x', 'a long word')[n % 2]}" for n in range(60)]
    (tmp_path / "names.csv").write_text("\n".join(rows) + "\n")
    page.set_input_files("#file", tmp_path / "names.csv")
    chosen(page, "told => told.table === 'names.csv'")
    lefts = page.evaluate(
        "[0, playground.state.told.columns.length - 1].map((column) => "
        "[...document.querySelectorAll(`.unit[data-at^='${column},']`)]"
        ".map((unit) => unit.getBoundingClientRect().left))"
    )
    assert [len(column) for column in lefts] == [2, 2]
    assert [len(set(column)) for column in lefts] == [1, 1]


def test_bars_are_drawn_anew_where_a_window_becomes_narrow_while_nothing_trains(page):
    wait(page, "document.querySelector('#bars canvas') !== null")
    pause(page)
    page.set_viewport_size({"width": 400, "height": 900})
    wait(
        page,
        "[...document.querySelectorAll('#bars canvas')].every((canvas) => "
        "Math.abs(canvas.width - canvas.clientWidth * devicePixelRatio) < 2)",
    )


@pytest.mark.later
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 900, 1500])
def test_the_page_fits_its_window(page, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    for problem in ("digits", "sine"):
        page.click(f"#problem-{problem}")
        chosen(page, f"told => told.chosen.problem === '{problem}'")
        wait(page, "playground.state.frame.findings !== undefined")
        wide, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= inner
    ink, paper = page.evaluate(
        "['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])"
    )
    parts = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (parts[0] > parts[1]) is (scheme == "dark")
