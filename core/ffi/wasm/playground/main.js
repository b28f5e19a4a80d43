// Page of the playground: connects the editor, the worker and the views.

import { Astreum } from "./astreum.js";
import { atomTree } from "./atoms.js";
import { Client, Stopped } from "./client.js";
import { showDebugger } from "./debugger.js";
import { Editor, toStringOffset } from "./editor.js";
import { EXAMPLES, PROOFS } from "./examples.js";
import { MAX_LINK_BYTES, fromFragment, toFragment } from "./link.js";
import { proofAtomItems, proofSentence, readProof } from "./proof.js";
import { spanOf, showResult } from "./result.js";
import { keyboardTabs } from "./tabs.js";

/** Longer programs are refused: a page is not the place for them. */
const MAX_SOURCE_LENGTH = 1_000_000;
const MAX_LIMIT = 10n ** 15n;
const PARSE_DELAY_MILLISECONDS = 200;

const $ = (id) => document.getElementById(id);

// The buttons work when the module is loaded.
const module = await loadModule();
const astreum = await Astreum.load(module);
const client = new Client(module);
const editor = new Editor((source) => astreum.tokens(source), sourceChanged);
const selectTab = keyboardTabs(document.querySelector("[role=tablist]"));

/** Source that the debugger runs, and whether it has operations left. */
let debugged = { source: "", isOpen: false };
let parseTimer = 0;

async function loadModule() {
    try {
        const response = await fetch(new URL("astreum.wasm", import.meta.url));
        if (!response.ok) {
            throw new Error(`astreum.wasm: ${response.status} ${response.statusText}`);
        }
        return await WebAssembly.compile(await response.arrayBuffer());
    } catch (error) {
        say("state", `The module cannot be loaded: ${error.message}.`, true);
        throw error;
    }
}

function sourceChanged() {
    clearTimeout(parseTimer);
    parseTimer = setTimeout(checkSyntax, PARSE_DELAY_MILLISECONDS);
}

/** Shows the first syntax error below the editor. */
function checkSyntax() {
    const source = editor.source;
    $("syntax").classList.remove("error-text");
    if (source.length > MAX_SOURCE_LENGTH) {
        $("syntax").textContent = tooLong(source);
        $("syntax").classList.add("error-text");
        return;
    }
    try {
        astreum.withScript(source, () => {});
        $("syntax").textContent = "";
    } catch (error) {
        const offset = toStringOffset(source, error.offset ?? 0);
        editor.mark([{ ...spanOf(source, offset), type: "error" }]);
        $("syntax").textContent = `${error.line}:${error.column} ${error.message}`;
        $("syntax").classList.add("error-text");
    }
}

function tooLong(source) {
    return `The program has ${source.length.toLocaleString("en")} characters; the playground takes at most ${MAX_SOURCE_LENGTH.toLocaleString("en")}.`;
}

/** Returns the program with its limits, or `null` after saying what is wrong with them. */
function program() {
    const source = editor.source;
    if (source.length > MAX_SOURCE_LENGTH) {
        say("state", tooLong(source), true);
        selectTab("result");
        return null;
    }
    try {
        $("limits-error").textContent = "";
        return {
            source,
            meterLimit: limit("meter-limit", "Meter limit"),
            stepLimit: limit("step-limit", "Step limit"),
        };
    } catch (error) {
        $("limits-error").textContent = error.message;
        return null;
    }
}

function limit(id, name) {
    const text = $(id).value.replaceAll(/[\s,_]/g, "");
    if (!/^\d+$/.test(text) || BigInt(text) > MAX_LIMIT) {
        $(id).focus();
        throw new Error(`${name}: expected a whole number from 0 to ${MAX_LIMIT.toLocaleString("en")}.`);
    }
    return BigInt(text);
}

function say(id, text, isError = false) {
    $(id).textContent = text;
    $(id).classList.toggle("error-text", isError);
}

function updateButtons() {
    const { isBusy } = client;
    for (const id of ["run", "debug", "atoms-source", "atoms-value", "proof-check"]) {
        $(id).disabled = isBusy;
    }
    for (const id of ["step", "step-many", "finish"]) {
        $(id).disabled = isBusy || !debugged.isOpen;
    }
    $("reset").disabled = isBusy || debugged.source === "";
    $("stop").disabled = !isBusy;
}

/** Runs a task in the worker; returns its result, or `undefined` after saying why there is none. */
async function work(task, input, place) {
    if (client.isBusy) {
        return undefined;
    }
    const focused = document.activeElement;
    try {
        const running = client.call(task, input);
        updateButtons();
        return await running;
    } catch (error) {
        // A new worker has no debugger.
        if (error instanceof Stopped) {
            debugged.isOpen = false;
        }
        say(place, error instanceof Stopped && error.message === "stopped"
            ? "Stopped."
            : `It failed: ${error.message}.`, true);
        return undefined;
    } finally {
        updateButtons();
        // A button that was disabled has lost the focus.
        if (focused instanceof HTMLButtonElement && document.activeElement === document.body) {
            focused.focus();
        }
    }
}

async function run() {
    const input = program();
    if (input === null) {
        return;
    }
    selectTab("result");
    say("state", "Running.");
    $("outcome").hidden = true;
    debugged.isOpen = false;
    const result = await work("run", input, "state");
    if (result !== undefined) {
        showResult(result, input, editor);
    }
}

async function debug() {
    const input = program();
    if (input === null) {
        return;
    }
    selectTab("debugger");
    debugged = { ...input, isOpen: false };
    showDebug(await work("debug", input, "debug-state"));
}

async function advance(task, input) {
    if (debugged.isOpen && !client.isBusy) {
        selectTab("debugger");
        say("debug-state", "Running.");
        showDebug(await work(task, input, "debug-state"));
    }
}

/** Shows the state of the debugger, or the result in its place. */
function showDebug(state) {
    if (state === undefined || state === null) {
        $("debug-view").hidden = true;
        return;
    }
    debugged.isOpen = state.kind === "suspended";
    showDebugger(state, debugged, editor);
    if (!debugged.isOpen) {
        showResult(state, debugged, editor);
    }
    updateButtons();
}

async function showAtoms(ofSource) {
    const input = ofSource ? program() : {};
    if (input === null) {
        return;
    }
    $("atoms").replaceChildren();
    say("atoms-state", "Working.");
    const found = await work("atoms", { source: input.source }, "atoms-state");
    if (found === undefined) {
        return;
    }
    if (found.kind === "parse error") {
        const offset = toStringOffset(input.source, found.offset);
        editor.mark([{ ...spanOf(input.source, offset), type: "error" }]);
        say("atoms-state", `The program cannot be parsed: ${found.message}.`, true);
    } else if (found.trees.length === 0) {
        say("atoms-state", ofSource ? "The program is empty." : "There is no value yet: run the program first.", true);
    } else {
        const cut = found.isCut ? " Only the first ones are shown." : "";
        say("atoms-state", `${found.count.toLocaleString("en")} different atoms.${cut}`);
        $("atoms").replaceChildren(...atomTree(found.trees));
    }
}

async function checkProof() {
    const form = {
        root: $("proof-root").value,
        key: $("proof-key").value,
        keyForm: $("proof-key-form").value,
        proof: $("proof-bytes").value,
    };
    $("proof-atoms").replaceChildren();
    $("proof-result").className = "";
    try {
        const input = readProof(form);
        say("proof-result", "Checking.");
        const checked = await work("verify", input, "proof-result");
        if (checked !== undefined) {
            const { isValid, text } = proofSentence(checked);
            say("proof-result", text);
            $("proof-result").className = isValid ? "valid" : "invalid";
            $("proof-atoms").replaceChildren(...proofAtomItems(checked.atoms));
        }
    } catch (error) {
        say("proof-result", error.message);
        $("proof-result").className = "invalid";
    }
}

function fillProof({ root, key, proof }) {
    $("proof-root").value = root;
    $("proof-key").value = key;
    $("proof-key-form").value = "text";
    $("proof-bytes").value = proof;
    say("proof-result", "");
    $("proof-result").className = "";
    $("proof-atoms").replaceChildren();
}

async function share() {
    // A check that is due would replace the message.
    clearTimeout(parseTimer);
    const fragment = toFragment(editor.source);
    if (fragment === null) {
        say("syntax", `The program is too long for a link: at most ${MAX_LINK_BYTES.toLocaleString("en")} bytes.`, true);
        return;
    }
    history.replaceState(null, "", fragment);
    try {
        await navigator.clipboard.writeText(location.href);
        say("syntax", "The link is in the address bar and on the clipboard.");
    } catch {
        say("syntax", "The link is in the address bar.");
    }
}

/** Loads the program of the address; returns whether there is one. */
function loadLink() {
    try {
        const source = fromFragment(location.hash);
        if (source !== null) {
            clearTimeout(parseTimer);
            editor.source = source;
            checkSyntax();
        }
        return source !== null;
    } catch (error) {
        say("syntax", error.message, true);
        return false;
    }
}

function stop() {
    if (client.isBusy) {
        client.stop();
    }
}

const KEYS = {
    F8: () => (debugged.isOpen ? advance("step", { count: 1 }) : debug()),
    F9: () => advance("finish", {}),
    Escape: stop,
};

document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        (event.shiftKey ? debug : run)();
    } else if (Object.hasOwn(KEYS, event.key) && !event.ctrlKey && !event.altKey && !event.metaKey) {
        event.preventDefault();
        KEYS[event.key]();
    }
});

$("run").addEventListener("click", run);
$("debug").addEventListener("click", debug);
$("stop").addEventListener("click", stop);
$("share").addEventListener("click", share);
$("step").addEventListener("click", () => advance("step", { count: 1 }));
$("step-many").addEventListener("click", () => advance("step", { count: 100 }));
$("finish").addEventListener("click", () => advance("finish", {}));
$("reset").addEventListener("click", debug);
$("atoms-source").addEventListener("click", () => showAtoms(true));
$("atoms-value").addEventListener("click", () => showAtoms(false));
$("proof-form").addEventListener("submit", (event) => {
    event.preventDefault();
    checkProof();
});
$("proof-present").addEventListener("click", () => fillProof(PROOFS.present));
$("proof-absent").addEventListener("click", () => fillProof(PROOFS.absent));
addEventListener("hashchange", loadLink);

EXAMPLES.forEach(({ name }, index) => $("example").append(new Option(name, index)));
$("example").addEventListener("change", () => {
    clearTimeout(parseTimer);
    editor.source = EXAMPLES[$("example").value].source;
    say("syntax", "");
});
if (!loadLink()) {
    editor.source = EXAMPLES[0].source;
}
say("state", "Ready: press Run.");
updateButtons();
document.documentElement.dataset.ready = "true";
