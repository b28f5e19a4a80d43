// Tests of the playground in headless Chromium: `node --test test.js`, after `./build`.
//
// Environment: ASTREUM_PLAYGROUND is the folder that was built, by default target/playground;
// SCREENSHOTS is a folder for pictures of the page, by default none. Needs chromium, chromedriver and
// python3 (apt-get install chromium chromium-driver python3).

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import {
    KEYS, cdp, closeBrowser, consoleMessages, driver, evaluate, find, openBrowser, picture, press, requireBrowser, requireProgram,
    start, type, visit, waitFor,
} from "../../../../tests/browser/chromium.js";
import { EXAMPLES } from "./examples.js";

const FOLDER = process.env.ASTREUM_PLAYGROUND
    ?? fileURLToPath(new URL("../../../../target/playground", import.meta.url));
const profile = mkdtempSync(join(tmpdir(), "astreum-playground-"));
let page = "";

const textOf = (id) => evaluate("return document.getElementById(arguments[0]).innerText", id);

async function click(id) {
    await waitFor(`${id} to be enabled`, "return !document.getElementById(arguments[0]).disabled", id);
    await driver("POST", `/element/${await find(`#${id}`)}/click`, {});
}

/** Sets the source as pasting does, without the time of typing. */
const paste = (source) => evaluate(
    "const area = document.getElementById('source'); area.value = arguments[0]; area.dispatchEvent(new Event('input'))",
    source);

async function run(source) {
    await paste(source);
    await evaluate("document.getElementById('state').textContent = 'old'");
    await click("run");
    await waitFor("the result", "return !['old', 'Running.'].includes(document.getElementById('state').textContent)");
    return textOf("state");
}

async function open(fragment = "") {
    await visit(page + fragment);
    await waitFor("the page", "return document.documentElement.dataset.ready === 'true'");
}

before(async () => {
    requireBrowser();
    requireProgram("python3", "--version", "python3");
    assert.ok(existsSync(join(FOLDER, "astreum.wasm")), `${FOLDER} is not built; run core/ffi/wasm/playground/build`);
    const { found: server } = await start("python3",
        ["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", FOLDER, "0"], /port (\d+)/);
    page = `http://127.0.0.1:${server}/`;
    await openBrowser(profile, 1280, 900);
    await open();
});

after(async () => {
    await closeBrowser();
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

test("a program is typed, run and shown with its charge", async () => {
    await type("#source", "(40 2 (($0 $1 add) sk))");
    await click("run");
    await waitFor("the value", "return document.getElementById('value').textContent === '42'");
    assert.equal(await textOf("state"), "Finished.");
    assert.equal(await textOf("charge"), "2 of 100,000 used");
    assert.match(await textOf("usage"), /^\d+ steps in [\d.]+ ms$/);
    // The highlighted copy has the same text, and the classes of the tokens.
    const [copy, opcode, form, place] = await evaluate(`
        const all = (name) => [...document.querySelectorAll('#highlight .' + name)].map((it) => it.textContent);
        return [document.getElementById('highlight').textContent, all('opcode'), all('form'), all('placeholder')]`);
    assert.equal(copy, "(40 2 (($0 $1 add) sk))\n");
    assert.deepEqual([opcode, form, place], [["add"], ["sk"], ["$0", "$1"]]);
});

test("the examples run", async () => {
    const expected = {
        Function: ["Finished.", "(3 42 (\"hello\" ()))"],
        "Loop on the heap": ["Finished.", "5"],
        "Error with its place": ["Finished, with 2 errors on the way.", /^\(\(error "low_eval" "underflow"\)/],
        Atoms: ["Finished.", "\"Hello, world\""],
        "Missing atom": [/^The atom f794f3fc[0-9a-f]{56} is not here\./, /"goes on"\)$/],
        Meter: ["Finished.", "64"],
        "Endless loop": [/^The meter refused a charge/, "error low_eval: meter limit"],
    };
    assert.deepEqual(EXAMPLES.map(({ name }) => name), Object.keys(expected));
    for (const { name, source } of EXAMPLES) {
        const found = [await run(source), await textOf("value")];
        found.forEach((text, index) => {
            const wanted = expected[name][index];
            assert.ok(wanted instanceof RegExp ? wanted.test(text) : wanted === text, `${name}: ${text}`);
        });
    }
});

test("the debugger shows stack, heap and the next opcode at each step", async () => {
    await paste("(3 ((\"k\" $0 heap_set \"k\" heap_get 1 add) sk))");
    await click("debug");
    await waitFor("the debugger", "return !document.getElementById('debug-view').hidden");
    const seen = [];
    for (let count = 0; count < 12; count += 1) {
        const [isOpen, ...state] = await evaluate(`
            const text = (id) => document.getElementById(id).textContent;
            const items = (id) => [...document.querySelectorAll('#' + id + ' > :not(.empty)')].map((it) => it.textContent).join(' ');
            return [!document.getElementById('debug-view').hidden, text('next'), items('stack'), items('heap'),
                document.querySelector('#debug-source mark')?.textContent]`);
        if (!isOpen) break;
        seen.push(state.join(" | "));
        const before = await textOf("debug-state");
        await click("step");
        await waitFor("the step", "return ![arguments[0], 'Running.'].includes(document.getElementById('debug-state').textContent)", before);
    }
    assert.deepEqual(seen, [
        "push a constant |  |  | 3",
        "check an argument |  |  | 3",
        "run a stack program, arguments: 1 |  |  | (\"k\" $0 heap_set \"k\" heap_get 1 add)",
        "push 107 \"k\" |  |  | \"k\"",
        "push 3 | 107 \"k\" |  | $0",
        "heap_set | 3 107 \"k\" |  | heap_set",
        "push 107 \"k\" |  | 107 \"k\" 3 | \"k\"",
        "heap_get | 107 \"k\" | 107 \"k\" 3 | heap_get",
        "push 1 | 3 | 107 \"k\" 3 | 1",
        "add | 1 3 | 107 \"k\" 3 | add",
        "return |  |  | (3 ((\"k\" $0 heap_set \"k\" heap_get 1 add) sk))",
    ]);
    assert.match(await textOf("debug-state"), /^Ended with 4\. Charge: 4\./);
    // Reset starts again; the end is reached with the same value.
    await click("reset");
    await waitFor("the debugger", "return document.getElementById('next').textContent === 'push a constant'");
    await click("finish");
    await waitFor("the end", "return document.getElementById('debug-state').textContent.startsWith('Ended with 4.')");
    assert.equal(await evaluate("return document.getElementById('step').disabled"), true);
});

test("an error shows carets below its place", async () => {
    for (const [source, place, marked, message] of [
        ["(1\n  (2 int.ad) 3)", "2:6", "int.ad", "unbound symbol 'int.ad'"],
        ["(7 ((é😀漢 $0 add add) sk))", "1:17", "add", "underflow"],
        ["(1 2 ((\n  $0 add $1) sk))", "2:6", "add", "underflow"],
    ]) {
        await run(source);
        const found = await evaluate(`
            const rect = (selector) => document.querySelector(selector).getBoundingClientRect();
            const [mark, carets] = [rect('#errors mark'), rect('#errors .carets')];
            const under = [...document.querySelectorAll('#highlight .error')].map((it) => it.textContent).join('');
            return { place: document.querySelector('#errors .place-link').textContent,
                message: document.querySelector('#errors .message').textContent,
                mark: document.querySelector('#errors mark').textContent, under,
                carets: document.querySelector('#errors .carets').textContent,
                shift: Math.abs(mark.left - carets.left), isBelow: carets.top >= mark.top + 5 }`);
        assert.equal(found.place, place, source);
        assert.ok(found.message.includes(message), found.message);
        assert.deepEqual([found.mark, found.under, found.carets], [marked, marked, "^".repeat(marked.length)]);
        assert.ok(found.shift < 1 && found.isBelow, JSON.stringify(found));
    }
    await click("tab-result");
    await evaluate("document.querySelector('#errors .place-link').click()");
    const selected = await evaluate("const area = document.activeElement; return area.value.slice(area.selectionStart, area.selectionEnd)");
    assert.equal(selected, "add");
});

test("atoms of a program and of a value are trees", async () => {
    await run("(\"Hello, \" x ())");
    await click("tab-atoms");
    await click("atoms-value");
    await waitFor("the tree", "return document.querySelector('#atoms details')");
    const items = "return [...document.querySelectorAll('#atoms .kind')].map((it) => it.textContent)";
    const value = await evaluate(items);
    await click("atoms-source");
    await waitFor("the tree", "return document.querySelectorAll('#atoms .symbol').length === 1");
    assert.deepEqual(await evaluate(items), [
        "list of 3 atoms",
        "list atom, next ", "bytes atom 7 bytes",
        "list atom, next ", "symbol atom",
        "list atom, last", "list of 0 atoms",
    ]);
    assert.equal(value.length > 0, true);
    assert.equal(await textOf("atoms-state"), "6 different atoms.");
});

test("the proof checker accepts valid proofs and rejects others", async () => {
    await click("tab-proof");
    const check = async () => {
        await evaluate("document.getElementById('proof-result').textContent = ''");
        await click("proof-check");
        await waitFor("the verdict", "return !['', 'Checking.'].includes(document.getElementById('proof-result').textContent)");
        return [await evaluate("return document.getElementById('proof-result').className"), await textOf("proof-result")];
    };
    await click("proof-present");
    assert.deepEqual(await check(), ["valid", "Valid: the trie with this root has the value \"three\" (0x7468726565) for the key."]);
    assert.ok(await evaluate("return document.querySelectorAll('#proof-atoms li').length > 1"));
    await type("#proof-key", "beta");
    const [kind, message] = await check();
    assert.equal(kind, "invalid", message);
    await click("proof-absent");
    assert.deepEqual(await check(), ["valid", "Valid: the trie with this root has no value for the key."]);
    // One digit of the proof or the root is wrong.
    for (const id of ["proof-root", "proof-bytes"]) {
        await click("proof-present");
        await evaluate(`const field = document.getElementById(arguments[0]);
            field.value = field.value.slice(0, -1) + (field.value.endsWith('0') ? '1' : '0')`, id);
        assert.equal((await check())[0], "invalid");
    }
    for (const [id, text, expected] of [
        ["proof-root", "xyz", "Root: “x” at digit 1 is not a hex digit."],
        ["proof-root", "0x12", "Root: expected 64 hex digits, found 2."],
        ["proof-root", "", "Root: expected 64 hex digits, found 0."],
        ["proof-bytes", "abc", "Proof: 3 hex digits are an odd number; a byte has two."],
        ["proof-bytes", "12😀4", "Proof: “😀” at digit 3 is not a hex digit."],
        ["proof-bytes", "ffffffff00", "Invalid proof: truncated atom at the end of the proof."],
        ["proof-bytes", "", /^Invalid proof: missing atom [0-9a-f]{64}: the proof is for another root or key\.$/],
    ]) {
        await click("proof-present");
        await evaluate("document.getElementById(arguments[0]).value = arguments[1]", id, text);
        const [className, found] = await check();
        assert.equal(className, "invalid");
        assert.match(found, expected instanceof RegExp ? expected : new RegExp(`^${expected.replaceAll(".", "\\.")}$`));
    }
});

test("a link restores the program", async () => {
    const source = "; Ünïcode 😀\n(\"漢字\" x)";
    await paste(source);
    await click("share");
    await waitFor("the link", "return location.hash.startsWith('#program=')");
    const fragment = await evaluate("return location.hash");
    await open(fragment);
    assert.equal(await evaluate("return document.getElementById('source').value"), source);
    // Another link in the same tab, and damaged ones.
    await evaluate("location.hash = '#program=KDEp'");
    await waitFor("the program", "return document.getElementById('source').value === '(1)'");
    for (const damaged of ["#program=%%%", "#program=_w", "#program=A"]) {
        await open(damaged);
        assert.match(await textOf("syntax"), /^The link is damaged/);
        assert.match(await evaluate("return document.getElementById('source').value"), /int\.add/);
    }
    await paste("1 ".repeat(13_000));
    await click("share");
    assert.equal(await textOf("syntax"), "The program is too long for a link: at most 24,000 bytes.");
    await open();
});

test("everything can be done with the keyboard", async () => {
    await paste("(1 2 (($0 $1 add) sk))");
    await evaluate("document.getElementById('source').focus()");
    await press(KEYS.control, KEYS.enter);
    await waitFor("the value", "return document.getElementById('value').textContent === '3'");
    await press(KEYS.f8);
    await waitFor("the debugger", "return !document.getElementById('debug-view').hidden");
    await press(KEYS.f8);
    await waitFor("a step", "return document.getElementById('values').textContent === '1'");
    await press(KEYS.f9);
    await waitFor("the end", "return document.getElementById('debug-state').textContent.startsWith('Ended with 3.')");
    await evaluate("document.getElementById('tab-debugger').focus()");
    const selected = () => evaluate("return document.activeElement.id + ' ' + [...document.querySelectorAll('[role=tabpanel]:not([hidden])')].map((it) => it.id)");
    await press(KEYS.right);
    assert.equal(await selected(), "tab-atoms panel-atoms");
    await press(KEYS.left);
    await press(KEYS.left);
    assert.equal(await selected(), "tab-result panel-result");
    // The tab key leaves the editor.
    await evaluate("document.getElementById('source').focus()");
    await press("\uE004");
    assert.equal(await evaluate("return document.activeElement.id"), "meter-limit");
});

test("endless programs end at a limit, or are stopped", async () => {
    const endless = "(1 ((0 jump) sk))";
    assert.match(await run(endless), /^The meter refused a charge: 100,000 reaches the limit of 100,000\./);
    await type("#meter-limit", "1,000,000,000,000");
    await type("#step-limit", "1 000 000");
    assert.equal(await run(endless), "Stopped at a limit: the program needs more than 1,000,000 steps.");
    await type("#step-limit", "1000000000000000");
    await paste(endless);
    await click("run");
    // The page answers while the program runs.
    await waitFor("the program to run", "return document.getElementById('state').textContent === 'Running.'");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const start = Date.now();
    await click("tab-proof");
    await click("tab-result");
    assert.ok(Date.now() - start < 2000);
    await press(KEYS.escape);
    await waitFor("the stop", "return document.getElementById('state').textContent === 'Stopped.'");
    // In the debugger as well; a new worker continues.
    await click("debug");
    await click("finish");
    await waitFor("the program to run", "return document.getElementById('debug-state').textContent === 'Running.'");
    await click("stop");
    await waitFor("the stop", "return document.getElementById('debug-state').textContent === 'Stopped.'");
    assert.equal(await run("7"), "Finished.");
    for (const [text, found] of [["-1", false], ["1e3", false], ["", false], ["0", true]]) {
        await type("#meter-limit", text);
        await evaluate("document.getElementById('run').click()");
        await waitFor("the answer", "return !document.getElementById('run').disabled");
        const error = await textOf("limits-error");
        assert.equal(error, found ? "" : "Meter limit: expected a whole number from 0 to 1,000,000,000,000,000.");
    }
    await open();
});

test("nonsense gets clear messages", async () => {
    for (const [source, state, place, message] of [
        ["(1 (2", "The program cannot be parsed.", "1:5", "expected ')'"],
        ["1))", "The program cannot be parsed.", "1:2", "unexpected ')'"],
        ["(\"open", "The program cannot be parsed.", "1:2", "unterminated string"],
        ["(\"\\q\")", "The program cannot be parsed.", "1:3", "escape"],
    ]) {
        assert.equal(await run(source), state, source);
        assert.equal(await evaluate("return document.querySelector('#errors .place-link').textContent"), place, source);
        assert.ok((await textOf("errors")).includes(message), await textOf("errors"));
    }
    assert.equal(await run(""), "Finished.");
    assert.equal(await textOf("value"), "()");
    await run("(\"\u0000\u202e<b>bold</b>\" <script>alert(1)</script>)");
    assert.equal(await evaluate("return document.querySelectorAll('main b, main script').length - document.querySelectorAll('.carets').length"), 0);
    // Deep and long programs, also as atoms and in the debugger.
    const deep = "(".repeat(100_000) + ")".repeat(100_000);
    const long = `(${"1 ".repeat(300_000)})`;
    for (const source of [deep, long]) {
        assert.match(await run(source), /^(Finished.*|Stopped at a limit: .*)\.$/);
        await click("tab-atoms");
        await click("atoms-source");
        await waitFor("the atoms", "return document.getElementById('atoms-state').textContent.includes('Only the first ones are shown.')");
        await click("debug");
        await waitFor("the debugger", "return !document.getElementById('debug-view').hidden || document.getElementById('debug-state').textContent.startsWith('Ended')");
        await click("tab-result");
    }
    assert.match(await run("x".repeat(1_000_001)), /^The program has 1,000,001 characters; the playground takes at most 1,000,000\.$/);
    // Doubles a value until the memory limit.
    const double = `(((a b (($0 $1 add) sk)) (a b) fn) int.add def) ((x) (${"(".repeat(40)}x x${" x)".repeat(40)}) fn)`;
    assert.match(await run(double), /\.$/);
    // The page still works.
    assert.equal(await run("(1 2)"), "Finished.");
    await open();
});

test("pictures of the page", { skip: !process.env.SCREENSHOTS }, async () => {
    const scenes = {
        result: async () => {
            await evaluate("const select = document.getElementById('example'); select.value = 2; select.dispatchEvent(new Event('change'))");
            await click("run");
            await waitFor("the errors", "return document.querySelectorAll('#errors .carets').length === 2");
        },
        debugger: async () => {
            await evaluate("const select = document.getElementById('example'); select.value = 1; select.dispatchEvent(new Event('change'))");
            await click("debug");
            await waitFor("the debugger", "return !document.getElementById('debug-view').hidden");
            for (let count = 0; count < 11; count += 1) {
                const before = await textOf("debug-state");
                await click("step");
                await waitFor("the step", "return ![arguments[0], 'Running.'].includes(document.getElementById('debug-state').textContent)", before);
            }
        },
        atoms: async () => {
            await paste("(\"Hello\" (1 x) ())");
            await click("tab-atoms");
            await click("atoms-source");
            await waitFor("the tree", "return document.querySelector('#atoms details')");
        },
        proof: async () => {
            await click("tab-proof");
            await click("proof-present");
            await click("proof-check");
            await waitFor("the verdict", "return document.getElementById('proof-result').className === 'valid'");
        },
    };
    for (const scheme of ["light", "dark"]) {
        const features = [{ name: "prefers-color-scheme", value: scheme }];
        await cdp("Emulation.setEmulatedMedia", { features });
        for (const [size, width, height] of [["wide", 1280, 860], ["narrow", 420, 1250]]) {
            await cdp("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
            for (const [name, scene] of Object.entries(scenes)) {
                await scene();
                assert.ok(await evaluate("return document.documentElement.scrollWidth <= window.innerWidth"), `${name} ${size} scrolls sideways`);
                await picture(`${name}-${size}-${scheme}`);
            }
        }
    }
});

test("the browser's console has no message", async () => {
    const messages = await consoleMessages();
    assert.deepEqual(messages.map(({ message }) => message), []);
});
